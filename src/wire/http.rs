//! The little of HTTP/1.1 that trackers need: one request, one answer, close.
//! Knows bytes only; what is answered is the tracker's affair.

use super::address::{Host, HostPort};
use super::gzip::{self, gunzip};
use super::message::logged;
use super::text::printable;
use crate::units::limits::{HTTP_BODY_MAX, HTTP_HEAD_MAX};
use core::fmt;
use core::net::IpAddr;
use core::slice::EscapeAscii;
use percent_encoding::{utf8_percent_encode, AsciiSet, CONTROLS};

/// Header lines one head may have: browsers send a dozen.
const HEADERS_MAX: usize = 64;
/// Bytes of the longest line before a chunk: a size and an extension nobody uses.
const CHUNK_LINE_MAX: usize = 256;
/// Bytes that would break the request line.
const NOT_IN_TARGET: &AsciiSet = &CONTROLS.add(b' ');

/// What is done with the target of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Send it.
    Get,
    /// Send what a GET would send, without the body.
    Head,
}

/// A request whose head is complete. It has no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// GET or HEAD.
    pub method: Method,
    /// The target in origin form: path and query as they stand, still percent-encoded.
    pub target: &'a str,
    /// Bytes of the head.
    pub length: usize,
}

/// An answer that has arrived as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Where a redirection leads.
    pub location: Option<String>,
    /// The body without its chunks.
    pub body: Vec<u8>,
}

/// What is wrong with a request or an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpError {
    /// A line ends in LF without CR, or has a CR within: a way to smuggle requests.
    BareLineEnd,
    /// A request with a body, or with two ways to tell the length of one.
    Body,
    /// A chunk's size line is not one.
    Chunk,
    /// A content coding we never asked for.
    Coding,
    /// A body that is said to be gzip, and is not, or is damaged.
    Gzip,
    /// No HTTP, or not of version 1.
    Malformed,
    /// Neither GET nor HEAD.
    Method,
    /// The body is longer than [`HTTP_BODY_MAX`].
    TooLongBody,
    /// The head is longer than [`HTTP_HEAD_MAX`], or has too many lines.
    TooLongHead,
    /// The connection ended in the middle.
    Truncated,
}

impl<'a> Request<'a> {
    /// The target up to its query.
    #[must_use]
    pub fn path(&self) -> &'a str {
        self.target.split_once('?').map_or(self.target, |(path, _)| path)
    }

    /// What follows the `?` of the target; empty if there is none.
    #[must_use]
    pub fn query(&self) -> &'a str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }
}

/// Reads the head of a request. `None`: it is not complete yet, give more bytes.
///
/// # Errors
/// When no further byte can make it a request we answer. The error is the same however the
/// bytes were split.
pub fn parse_request(bytes: &[u8]) -> Result<Option<Request<'_>>, HttpError> {
    check_method(bytes)?;
    let Some(length) = head_length(bytes)? else { return Ok(None) };
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut headers);
    match head.parse(&bytes[..length]) {
        Ok(httparse::Status::Complete(n)) if n == length => {}
        Ok(_) => return Err(HttpError::Malformed),
        Err(error) => return Err(error.into()),
    }
    // RFC 9112, 6.3: a GET may have a body, but then its end is where requests are smuggled.
    let mut lengths = 0;
    for header in head.headers.iter() {
        if header.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(HttpError::Body);
        }
        if header.name.eq_ignore_ascii_case("content-length") {
            lengths += 1;
            if lengths > 1 || header.value.trim_ascii() != b"0" {
                return Err(HttpError::Body);
            }
        }
    }
    let method = match head.method {
        Some("GET") => Method::Get,
        Some("HEAD") => Method::Head,
        _ => return Err(HttpError::Method),
    };
    let target = origin_form(head.path.unwrap_or_default()).ok_or(HttpError::Malformed)?;
    Ok(Some(Request { method, target, length }))
}

/// Refuses other methods by the first bytes, before the rest has come.
fn check_method(bytes: &[u8]) -> Result<(), HttpError> {
    let start = |method: &[u8]| {
        let n = method.len().min(bytes.len());
        bytes[..n] == method[..n]
    };
    if start(b"GET ") || start(b"HEAD ") {
        Ok(())
    } else {
        Err(HttpError::Method)
    }
}

/// Length of the head with its empty line, if that has come and every line ends in CR LF.
fn head_length(bytes: &[u8]) -> Result<Option<usize>, HttpError> {
    let window = &bytes[..bytes.len().min(HTTP_HEAD_MAX)];
    let mut line_start = 0;
    for (i, &byte) in window.iter().enumerate() {
        let next = window.get(i + 1);
        if byte == b'\r' && next.is_some_and(|&b| b != b'\n') {
            return Err(HttpError::BareLineEnd);
        }
        if byte == b'\n' {
            if i == 0 || window[i - 1] != b'\r' {
                return Err(HttpError::BareLineEnd);
            }
            if i == line_start + 1 {
                return Ok(Some(i + 1));
            }
            line_start = i + 1;
        }
    }
    if bytes.len() >= HTTP_HEAD_MAX {
        return Err(HttpError::TooLongHead);
    }
    Ok(None)
}

/// RFC 9112, 3.2.2: a server must accept the absolute form as well.
fn origin_form(target: &str) -> Option<&str> {
    if target.starts_with('/') {
        return Some(target);
    }
    let scheme = target.get(..7).filter(|s| s.eq_ignore_ascii_case("http://"))?;
    let rest = &target[scheme.len()..];
    Some(rest.find('/').map_or("/", |slash| &rest[slash..]))
}

/// An answer with its head; the connection ends after it.
#[must_use]
pub fn answer(status: u16, content_type: &str, body: &[u8]) -> Vec<u8> {
    // RFC 9110, 15.5.6: 405 must say what is allowed.
    answer_with(status, content_type, if status == 405 { "Allow: GET, HEAD\r\n" } else { "" }, body)
}

/// The same with further header lines, each ending in CR LF.
#[must_use]
pub fn answer_with(status: u16, content_type: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "HTTP/1.1 {status} {}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n{headers}\
         Connection: close\r\n\r\n",
        reason(status),
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// The answer to a HEAD: `answer` cut after its head (RFC 9110, 9.3.2).
#[must_use]
pub fn without_body(mut answer: Vec<u8>) -> Vec<u8> {
    if let Ok(Some(length)) = head_length(&answer) {
        answer.truncate(length);
    }
    answer
}

const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        301 => "Moved Permanently",
        302 => "Found",
        304 => "Not Modified",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        500.. => "Internal Server Error",
        _ => "Other",
    }
}

/// A GET request. What would break the request line is percent-encoded.
#[must_use]
pub fn get(host: &HostPort, path_and_query: &str) -> Vec<u8> {
    let target = utf8_percent_encode(path_and_query, NOT_IN_TARGET);
    // RFC 9110, 7.2: without the port where it is the scheme's own.
    let host = match (&host.host, host.port) {
        (Host::Ip(IpAddr::V6(v6)), 80) => format!("[{v6}]"),
        (name, 80) => name.to_string(),
        _ => host.to_string(),
    };
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: reactor-peer/{version}\r\n\
         Accept-Encoding: identity\r\nConnection: close\r\n\r\n"
    )
    .into_bytes()
}

/// How the end of a body is known (RFC 9112, 6.3).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Framing {
    Chunked,
    Close,
    Length(usize),
}

/// Reads an answer to a GET. `closed`: no more bytes will come. `None`: not complete yet.
///
/// Lines may end in a bare LF: small trackers send that, and there is no second answer on the
/// connection that could be smuggled.
///
/// # Errors
/// When no further byte can make it an answer, or none will come.
pub fn parse_response(bytes: &[u8], closed: bool) -> Result<Option<Response>, HttpError> {
    parse_long_response(bytes, closed, HTTP_BODY_MAX)
}

/// The same for a body of at most `most` bytes; one in chunks has at most [`HTTP_BODY_MAX`].
///
/// # Errors
/// When no further byte can make it an answer, or none will come.
pub fn parse_long_response(
    bytes: &[u8],
    closed: bool,
    most: usize,
) -> Result<Option<Response>, HttpError> {
    let unfinished = || if closed { Err(HttpError::Truncated) } else { Ok(None) };
    let mut rest = bytes;
    loop {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut head = httparse::Response::new(&mut headers);
        let window = &rest[..rest.len().min(HTTP_HEAD_MAX)];
        let length = match head.parse(window) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if rest.len() >= HTTP_HEAD_MAX => {
                return Err(HttpError::TooLongHead);
            }
            Ok(httparse::Status::Partial) => return unfinished(),
            Err(error) => return Err(error.into()),
        };
        let status = head.code.unwrap_or_default();
        rest = &rest[length..];
        // RFC 9110, 15.2: an interim answer precedes the real one; nobody asked for 101.
        match status {
            101 => return Err(HttpError::Malformed),
            100..=199 => {
                if bytes.len() - rest.len() > HTTP_HEAD_MAX {
                    return Err(HttpError::TooLongHead);
                }
                continue;
            }
            _ => {}
        }
        let (framing, zipped) = framing(status, head.headers, most)?;
        let location = head
            .headers
            .iter()
            .find(|h| h.name.eq_ignore_ascii_case("location"))
            .map(|h| String::from_utf8_lossy(h.value).trim().to_owned());
        return match body(rest, framing, closed, most)? {
            // Not asked for, and sent all the same by some: other clients take it.
            Some(body) if zipped => {
                let body = gunzip(&body, most)?;
                Ok(Some(Response { status, location, body }))
            }
            Some(body) => Ok(Some(Response { status, location, body })),
            None => unfinished(),
        };
    }
}

/// And whether the body is gzip.
fn framing(
    status: u16,
    headers: &[httparse::Header<'_>],
    most: usize,
) -> Result<(Framing, bool), HttpError> {
    let (mut chunked, mut zipped) = (false, false);
    let mut length: Option<usize> = None;
    for header in headers {
        // Bytes beyond ASCII are lawful in a value (RFC 9110, 5.5), and in none that matters here.
        let value = String::from_utf8_lossy(header.value);
        let value = value.trim();
        match header.name.to_ascii_lowercase().as_str() {
            "transfer-encoding" if value.eq_ignore_ascii_case("chunked") && !chunked => {
                chunked = true;
            }
            "transfer-encoding" if value.eq_ignore_ascii_case("identity") => {}
            "transfer-encoding" => return Err(HttpError::Coding),
            // RFC 9110, 8.4.1.3: two names for one thing.
            "content-encoding" if !zipped && matches!(value, "gzip" | "x-gzip") => zipped = true,
            "content-encoding" if !value.is_empty() && !value.eq_ignore_ascii_case("identity") => {
                return Err(HttpError::Coding);
            }
            "content-length" => {
                let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
                if !digits {
                    return Err(HttpError::Malformed);
                }
                // Digits that do not fit are a number beyond every bound.
                let n = value.parse().unwrap_or(usize::MAX);
                if length.replace(n).is_some_and(|before| before != n) {
                    return Err(HttpError::Malformed);
                }
            }
            _ => {}
        }
    }
    let framing = match (status, chunked, length) {
        (204 | 304, ..) => return Ok((Framing::Length(0), false)),
        (_, true, Some(_)) => return Err(HttpError::Malformed),
        (_, true, None) => Framing::Chunked,
        (_, false, Some(n)) if n > most => return Err(HttpError::TooLongBody),
        (_, false, Some(n)) => Framing::Length(n),
        (_, false, None) => Framing::Close,
    };
    // An empty body is none, whatever it is said to be.
    Ok((framing, zipped && framing != Framing::Length(0)))
}

fn body(
    bytes: &[u8],
    framing: Framing,
    closed: bool,
    most: usize,
) -> Result<Option<Vec<u8>>, HttpError> {
    match framing {
        Framing::Length(n) => Ok(bytes.get(..n).map(<[u8]>::to_vec)),
        Framing::Close if bytes.len() > most => Err(HttpError::TooLongBody),
        Framing::Close => Ok(closed.then(|| bytes.to_vec())),
        Framing::Chunked => match chunks(bytes, |_| ())? {
            None => Ok(None),
            Some(length) => {
                // Only now is it worth copying: half a body is walked again with every read.
                let mut body = Vec::with_capacity(length);
                chunks(bytes, |chunk| body.extend_from_slice(chunk))?;
                Ok(Some(body))
            }
        },
    }
}

/// Gives every chunk to `each`; the sum of their lengths once the last has come. Trailers are
/// not waited for: nothing of theirs matters, and the connection ends anyway.
fn chunks<'a>(bytes: &'a [u8], mut each: impl FnMut(&'a [u8])) -> Result<Option<usize>, HttpError> {
    let mut rest = bytes;
    let mut total = 0_usize;
    loop {
        // The lines between the chunks count as well, or tiny chunks would never end.
        if bytes.len() - rest.len() > 4 * HTTP_BODY_MAX {
            return Err(HttpError::TooLongBody);
        }
        let window = &rest[..rest.len().min(CHUNK_LINE_MAX)];
        let Some(end) = window.iter().position(|&b| b == b'\n') else {
            return if rest.len() >= CHUNK_LINE_MAX { Err(HttpError::Chunk) } else { Ok(None) };
        };
        let size = chunk_size(&window[..end]).ok_or(HttpError::Chunk)?;
        rest = &rest[end + 1..];
        if size == 0 {
            return Ok(Some(total));
        }
        total = total.checked_add(size).ok_or(HttpError::TooLongBody)?;
        if total > HTTP_BODY_MAX {
            return Err(HttpError::TooLongBody);
        }
        let Some((chunk, after)) = rest.split_at_checked(size) else { return Ok(None) };
        rest = match after {
            [b'\r', b'\n', rest @ ..] | [b'\n', rest @ ..] => rest,
            [] | [b'\r'] => return Ok(None),
            _ => return Err(HttpError::Chunk),
        };
        each(chunk);
    }
}

fn chunk_size(line: &[u8]) -> Option<usize> {
    let digits = line.split(|&b| b == b';').next()?.trim_ascii();
    let digits = core::str::from_utf8(digits).ok()?;
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    Some(usize::from_str_radix(digits, 16).unwrap_or(usize::MAX))
}

impl HttpError {
    /// The status with which a server refuses such a request.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Method => 405,
            Self::TooLongBody | Self::Body => 413,
            Self::TooLongHead => 431,
            _ => 400,
        }
    }
}

impl From<gzip::Error> for HttpError {
    fn from(error: gzip::Error) -> Self {
        match error {
            gzip::Error::Damaged => Self::Gzip,
            gzip::Error::TooLong => Self::TooLongBody,
        }
    }
}

impl From<httparse::Error> for HttpError {
    fn from(error: httparse::Error) -> Self {
        match error {
            httparse::Error::TooManyHeaders => Self::TooLongHead,
            _ => Self::Malformed,
        }
    }
}

/// The first line of a request, for the log.
pub fn first_line(request: &[u8]) -> EscapeAscii<'_> {
    logged(request.split(|&byte| byte == b'\r').next().unwrap_or_default())
}

/// The body of an answer, for the log.
pub fn body_shown(answer: &[u8]) -> EscapeAscii<'_> {
    let head = answer.windows(4).position(|end| end == b"\r\n\r\n").map_or(0, |at| at + 4);
    logged(&answer[head..])
}

impl fmt::Display for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = match self.method {
            Method::Get => "GET",
            Method::Head => "HEAD",
        };
        write!(f, "{method} {}", printable(self.target))
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BareLineEnd => "a line of the HTTP head does not end in CR LF",
            Self::Body => "HTTP requests with a body are not answered",
            Self::Chunk => "a chunk of the HTTP body is malformed",
            Self::Coding => "the HTTP body is in a coding nobody asked for",
            Self::Gzip => "the gzip of the HTTP body is damaged",
            Self::Malformed => "this is not HTTP/1.1",
            Self::Method => "only GET and HEAD are answered",
            Self::TooLongBody => "the HTTP body is too long",
            Self::TooLongHead => "the HTTP head is too long",
            Self::Truncated => "the connection ended within the HTTP answer",
        })
    }
}

impl core::error::Error for HttpError {}

#[cfg(test)]
mod tests;
