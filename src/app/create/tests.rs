//! Torrents made from real folders, read back.

use super::*;
use crate::wire::digest::sha1;
use std::os::unix::fs::symlink;

fn request(path: &Path) -> Request<'_> {
    Request {
        path,
        announces: &[],
        piece_length: Some(16384),
        private: false,
        comment: None,
        output: None,
    }
}

fn made(request: &Request<'_>) -> Result<String, Failure> {
    let mut out = Vec::new();
    create(request, &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

fn line(result: Result<String, Failure>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn a_folder_with_pieces_across_files() {
    let home = tempfile::tempdir().unwrap();
    let lab = home.path().join("lab");
    fs::create_dir_all(lab.join("sub/empty")).unwrap();
    let data: Vec<u8> = (0..50_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    for (path, range) in [("b", 0..0), ("a", 0..20_000), ("sub/c", 20_000..50_000)] {
        fs::write(lab.join(path), &data[range]).unwrap();
    }
    for junk in [".hidden", "Thumbs.db", "x.part", "sub/.DS_Store"] {
        fs::write(lab.join(junk), "junk").unwrap();
    }
    symlink("/etc/passwd", lab.join("link")).unwrap();

    let output = home.path().join("out.torrent");
    let announces = ["10.0.0.1".to_string(), "http://b/announce".to_string()];
    let request = Request { output: Some(&output), announces: &announces, ..request(&lab) };
    let said = made(&request).unwrap();
    let bytes = fs::read(&output).unwrap();
    let metainfo = Metainfo::parse(&bytes).unwrap();
    assert!(said.contains("lab  50.0 kB  4 pieces of 16 KiB"), "{said}");
    assert!(said.contains(&format!("info-hash {}", metainfo.info_hash)), "{said}");
    let files: Vec<_> =
        metainfo.files.iter().map(|file| (metainfo.shown_path(file), file.length)).collect();
    assert_eq!(
        files,
        [("lab/a".into(), 20_000), ("lab/b".into(), 0), ("lab/sub/c".into(), 30_000)]
    );
    for (piece, bytes) in metainfo.geometry.pieces().zip(data.chunks(16384)) {
        assert_eq!(metainfo.piece_hash(piece), sha1(bytes));
    }
    assert_eq!(metainfo.announce_list, [["10.0.0.1"], ["http://b/announce"]]);

    // Said, not overwritten; nothing stays beside; the same bytes again elsewhere.
    assert!(line(made(&request)).contains("is there already"));
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 2);
    let into = home.path().join("into");
    fs::create_dir(&into).unwrap();
    made(&Request { output: Some(&into), ..request }).unwrap();
    assert_eq!(fs::read(into.join("lab.torrent")).unwrap(), bytes);
}

#[test]
fn single_files_of_odd_lengths() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("age.txt");
    for length in [0, 1, 16384, 16385, READ_BYTES + 1] {
        let data = vec![7; length];
        fs::write(&file, &data).unwrap();
        made(&Request { output: Some(home.path()), piece_length: None, ..request(&file) }).unwrap();
        let torrent = home.path().join("age.txt.torrent");
        let metainfo = Metainfo::parse(&fs::read(&torrent).unwrap()).unwrap();
        fs::remove_file(torrent).unwrap();
        assert_eq!(metainfo.geometry.length(), length as u64);
        for (piece, bytes) in metainfo.geometry.pieces().zip(data.chunks(16384)) {
            assert_eq!(metainfo.piece_hash(piece), sha1(bytes));
        }
    }
}

#[test]
fn what_cannot_be_shared() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("out");
    let made = |path: &Path| line(made(&Request { output: Some(&out), ..request(path) }));
    assert!(made(&home.path().join("missing")).contains("No such file"));
    assert!(made(Path::new("/")).contains("it has no name"));
    assert!(made(Path::new("/dev/null")).contains("neither a file nor a folder"));
    let empty = home.path().join("empty");
    fs::create_dir(&empty).unwrap();
    assert!(made(&empty).contains("no files to share"));
    let name = home.path().join("a\x1b[2J");
    fs::write(&name, "x").unwrap();
    let text = made(&name);
    assert!(text.contains("peers would save it as 'a_[2J'") && !text.contains('\x1b'), "{text}");
    let bad = Request { announces: &["a b".into()], ..request(&name) };
    assert_eq!(line(super::tests::made(&bad)), "announce 'a b' has spaces or control characters");
    assert!(!out.exists());
}

#[test]
fn set_announce_in_place() {
    let home = tempfile::tempdir().unwrap();
    let torrent = home.path().join("a.torrent");
    let info = "d6:pieces20:hhhhhhhhhhhhhhhhhhhh4:name1:a6:lengthi1e12:piece lengthi16384ee";
    fs::write(&torrent, format!("d8:announce3:old4:info{info}e")).unwrap();
    let link = home.path().join("link");
    symlink(&torrent, &link).unwrap();
    let mut out = Vec::new();
    set_announce(&link, &["10.0.0.9:5000".into()], &mut out).unwrap();
    let said = String::from_utf8(out).unwrap();
    assert!(said.contains("unchanged\nannounce 10.0.0.9:5000\n"), "{said}");
    assert_eq!(
        fs::read_to_string(&torrent).unwrap(),
        format!("d8:announce13:10.0.0.9:50004:info{info}e")
    );
    assert!(link.is_symlink());
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 2);
    fs::write(&torrent, "<html>").unwrap();
    let failure = set_announce(&torrent, &["b".into()], &mut Vec::new()).unwrap_err();
    assert!(failure.code() == 2 && failure.to_string().contains("web page"), "{failure}");
}
