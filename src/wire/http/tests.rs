//! HTTP as bytes: requests and answers at every split point, and what is refused.

use super::*;
use proptest::prelude::*;

/// The outcome for the whole, after a check that every prefix says "more" or the same error.
fn request(bytes: &[u8]) -> Result<Option<Request<'_>>, HttpError> {
    let whole = parse_request(bytes);
    for split in 0..bytes.len() {
        match (parse_request(&bytes[..split]), whole) {
            (Ok(None), _) => {}
            (before, _) if before == whole => {}
            (before, _) => panic!("at {split}: {before:?}, then {whole:?}"),
        }
    }
    whole
}

fn response(bytes: &[u8]) -> Result<Option<Response>, HttpError> {
    let whole = parse_response(bytes, false);
    for split in 0..bytes.len() {
        let before = parse_response(&bytes[..split], false);
        assert!(before == Ok(None) || before == whole, "at {split}: {before:?}, {whole:?}");
    }
    whole
}

#[test]
fn a_request_is_read_at_every_split() {
    let bytes = b"GET /announce?info_hash=%00&x=y HTTP/1.1\r\nHost: a\r\n\r\n";
    let r = request(bytes).unwrap().unwrap();
    assert_eq!((r.method, r.path(), r.query()), (Method::Get, "/announce", "info_hash=%00&x=y"));
    assert_eq!(r.length, bytes.len());
    let r = request(b"HEAD http://h:1/scrape HTTP/1.0\r\n\r\nrest").unwrap().unwrap();
    assert_eq!((r.method, r.path(), r.query()), (Method::Head, "/scrape", ""));
    let zero = b"GET / HTTP/1.1\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(request(zero).unwrap().unwrap().to_string(), "GET /");
}

#[test]
fn requests_we_refuse() {
    use HttpError as E;
    for (bytes, error) in [
        (&b"POST / HTTP/1.1\r\n\r\n"[..], E::Method),
        (b"\r\nGET / HTTP/1.1\r\n\r\n", E::Method),
        (b"GET / HTTP/1.1\n\n", E::BareLineEnd),
        (b"GET / HTTP/1.1\r\nA: b\nC: d\r\n\r\n", E::BareLineEnd),
        (b"GET / HTTP/1.1\r\nA: b\rc\r\n\r\n", E::BareLineEnd),
        (b"GET / HTTP/2.0\r\n\r\n", E::Malformed),
        (b"GET nothing HTTP/1.1\r\n\r\n", E::Malformed),
        (b"GET / HTTP/1.1\r\n A: folded\r\n\r\n", E::Malformed),
        (b"GET / HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n", E::Body),
        (b"GET / HTTP/1.1\r\nContent-Length: 4\r\n\r\nabcd", E::Body),
        (b"GET / HTTP/1.1\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n", E::Body),
    ] {
        assert_eq!(request(bytes), Err(error), "{}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn a_head_has_an_end() {
    let mut bytes = b"GET / HTTP/1.1\r\n".to_vec();
    bytes.resize(HTTP_HEAD_MAX - 1, b'a');
    assert_eq!(parse_request(&bytes), Ok(None));
    bytes.push(b'a');
    assert_eq!(parse_request(&bytes), Err(HttpError::TooLongHead));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(HEADERS_MAX + 1));
    assert_eq!(parse_request(many.as_bytes()), Err(HttpError::TooLongHead));
    assert_eq!(HttpError::TooLongHead.status(), 431);
}

#[test]
fn our_answer_to_the_byte() {
    let bytes = answer(200, "text/plain", b"hello");
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\
                Connection: close\r\n\r\n";
    assert_eq!(bytes, format!("{head}hello").into_bytes());
    assert_eq!(without_body(bytes.clone()), head.as_bytes());
    assert_eq!(response(&bytes).unwrap().unwrap().body, b"hello");
}

#[test]
fn our_request_to_the_byte() {
    let text = |host: &str, path: &str| {
        String::from_utf8(get(&HostPort::parse(host, 80).unwrap(), path)).unwrap()
    };
    let expected = format!(
        "GET /a?b=%20c HTTP/1.1\r\nHost: 10.0.0.1:5000\r\nUser-Agent: reactor-peer/{}\r\n\
         Accept-Encoding: identity\r\nConnection: close\r\n\r\n",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(text("10.0.0.1:5000", "/a?b=%20c"), expected);
    assert!(text("[::1]:80", "/").contains("Host: [::1]\r\n"));
    assert!(text("[::1]:81", "/").contains("Host: [::1]:81\r\n"));
    assert!(text("t", "/a b\r\nX: y").starts_with("GET /a%20b%0D%0AX:%20y HTTP/1.1\r\n"));
    let bytes = text("t", "/x?y").into_bytes();
    assert_eq!(request(&bytes).unwrap().unwrap().target, "/x?y");
}

#[test]
fn bodies_by_length_chunks_and_close() {
    let body = |bytes: &[u8]| response(bytes).map(|r| r.map(|r| r.body));
    let length = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabcEXTRA";
    assert_eq!(body(length), Ok(Some(b"abc".to_vec())));
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n\
                    3;x=y\r\nabc\r\n0A\r\n0123456789\r\n0\r\nT: r\r\n\r\n";
    assert_eq!(body(chunked), Ok(Some(b"abc0123456789".to_vec())));
    let until_close = b"HTTP/1.0 200 OK\n\nabc";
    assert_eq!(body(until_close), Ok(None));
    assert_eq!(parse_response(until_close, true).unwrap().unwrap().body, b"abc");
    let interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx";
    assert_eq!(body(interim), Ok(Some(b"x".to_vec())));
    let other =
        b"HTTP/1.1 200 OK\r\nServer: caf\xe9\r\nContent-Encoding:\r\nContent-Length: 1\r\n\r\nx";
    assert_eq!(body(other), Ok(Some(b"x".to_vec())));
    let none = b"HTTP/1.1 204 No Content\r\n\r\n";
    assert_eq!(body(none), Ok(Some(Vec::new())));
    let moved = b"HTTP/1.1 302 Found\r\nLocation:  http://t/x \r\nContent-Length: 0\r\n\r\n";
    let r = response(moved).unwrap().unwrap();
    assert_eq!((r.status, r.location.as_deref()), (302, Some("http://t/x")));
}

#[test]
fn answers_we_refuse() {
    use HttpError as E;
    let head = |headers: &str, body: &str| {
        response(format!("HTTP/1.1 200 OK\r\n{headers}\r\n{body}").as_bytes())
    };
    let chunked = "Transfer-Encoding: chunked\r\n";
    assert_eq!(head("Content-Length: 1048577\r\n", ""), Err(E::TooLongBody));
    assert_eq!(head("Content-Length: 99999999999999999999999\r\n", ""), Err(E::TooLongBody));
    assert_eq!(head("Content-Length: -1\r\n", ""), Err(E::Malformed));
    assert_eq!(head("Content-Length: +1\r\n", ""), Err(E::Malformed));
    assert_eq!(head("Content-Length: 1\r\nContent-Length: 2\r\n", ""), Err(E::Malformed));
    assert!(head("Content-Length: 1\r\nContent-Length: 1\r\n", "x").unwrap().is_some());
    assert_eq!(head(&format!("{chunked}Content-Length: 1\r\n"), ""), Err(E::Malformed));
    assert_eq!(head("Transfer-Encoding: gzip, chunked\r\n", ""), Err(E::Coding));
    assert_eq!(head("Content-Encoding: deflate\r\n", ""), Err(E::Coding));
    assert_eq!(head("Content-Encoding: gzip\r\nContent-Length: 1\r\n", "x"), Err(E::Gzip));
    assert_eq!(head(chunked, "x\r\n"), Err(E::Chunk));
    assert_eq!(head(chunked, "\r\n"), Err(E::Chunk));
    assert_eq!(head(chunked, "1\r\nabc"), Err(E::Chunk));
    assert_eq!(head(chunked, "100001\r\n"), Err(E::TooLongBody));
    assert_eq!(head(chunked, "fffffffffffffffff\r\n"), Err(E::TooLongBody));
    assert_eq!(head(chunked, &"1".repeat(CHUNK_LINE_MAX)), Err(E::Chunk));
    assert_eq!(response(b"HTTP/1.1 101 Switch\r\n\r\n"), Err(E::Malformed));
    assert_eq!(response(b"d8:intervali1ee"), Err(E::Malformed));
}

#[test]
fn gzip_that_nobody_asked_for() {
    // `ok`, by zlib, fixed codes.
    let zipped = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xcb\xcf\x06\0\x47\xdd\xdc\x79\x02\0\0\0";
    let body = |head: &str, bytes: &[u8]| {
        let all = [b"HTTP/1.1 200 OK\r\n", head.as_bytes(), b"\r\n", bytes].concat();
        response(&all).map(|r| r.unwrap().body)
    };
    let length = format!("Content-Length: {}\r\n", zipped.len());
    for name in ["gzip", "x-gzip"] {
        let head = format!("Content-Encoding: {name}\r\n{length}");
        assert_eq!(body(&head, zipped), Ok(b"ok".to_vec()));
    }
    let chunked = [&b"16\r\n"[..], zipped, b"\r\n0\r\n\r\n"].concat();
    let head = "Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n";
    assert_eq!(body(head, &chunked), Ok(b"ok".to_vec()));
    let moved = "Content-Encoding: gzip\r\nContent-Length: 0\r\n";
    assert_eq!(body(moved, b""), Ok(Vec::new()));
}

#[test]
fn an_end_too_early_is_an_error() {
    let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
    for cut in 0..bytes.len() {
        assert_eq!(parse_response(&bytes[..cut], true), Err(HttpError::Truncated));
    }
    let long = vec![b'x'; HTTP_BODY_MAX + 1];
    let bytes = [b"HTTP/1.1 200 OK\r\n\r\n".as_slice(), &long].concat();
    assert_eq!(parse_response(&bytes, true), Err(HttpError::TooLongBody));
}

#[test]
fn interim_answers_have_an_end() {
    let bytes = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(1000);
    assert_eq!(parse_response(&bytes, false), Err(HttpError::TooLongHead));
}

proptest! {
    #[test]
    fn any_bytes_are_survived(
        start in prop::sample::select(vec!["", "GET ", "GET / HTTP/1.1\r\n", "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]),
        tail in prop::collection::vec(prop_oneof![
            any::<u8>(), Just(b'\r'), Just(b'\n'), Just(b'0'), Just(b':')
        ], 0..100),
    ) {
        let bytes = [start.as_bytes(), &tail].concat();
        let _ = request(&bytes);
        let _ = response(&bytes);
        let _ = parse_response(&bytes, true);
    }
}
