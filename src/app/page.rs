//! The page that a browser shows for `http://HOST:PORT/`: what this peer shares, and how to get
//! it. One file, no scripts, nothing from elsewhere.

use super::text::{is_unsafe, percent, quote, size};
use crate::wire::catalogue::{encode, torrent_path, Entry, CATALOGUE_PATH};
use std::fmt::Write;
use std::net::SocketAddr;

const HEAD: &str = "<!DOCTYPE html>
<html lang=\"en\"><head><meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">
<meta name=\"color-scheme\" content=\"light dark\">
<meta http-equiv=\"refresh\" content=\"10\">
<style nonce=\"page\">
:root { --ink: #1c1e21; --soft: #5f6670; --line: #d9dde2; --paper: #fff; --mark: #1f6f43; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8eaed; --soft: #9aa2ad; --line: #353a41; --paper: #16181b; --mark: #6cc495; }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin: 0; } h2 { font-size: 1.05rem; margin: 0; overflow-wrap: anywhere; }
p { margin: .25rem 0; } .soft { color: var(--soft); }
section { border-top: 1px solid var(--line); padding: 1rem 0; margin-top: 1rem; }
progress { width: 100%; height: .5rem; accent-color: var(--mark); }
code { display: block; overflow-x: auto; white-space: pre; padding: .5rem .75rem;
  border: 1px solid var(--line); border-radius: .4rem; font-size: .9rem; }
a { color: var(--mark); } a + a { margin-left: 1rem; }
</style>
";

/// The page; `here` is our address as the reader sees it.
#[must_use]
pub fn page(shared: &[Entry], here: SocketAddr) -> String {
    let mut out = String::from(HEAD);
    let total: u64 = shared.iter().map(|entry| entry.have).fold(0, u64::saturating_add);
    let _ = write!(
        out,
        "<title>reactor-peer at {here}</title></head>\n<body>\n<h1>reactor-peer at {here}</h1>\n\
         <p class=\"soft\">{} {}, {} &middot; tracker http://{here}/announce &middot; \
         <a href=\"{CATALOGUE_PATH}\">catalog.json</a></p>\n",
        shared.len(),
        if shared.len() == 1 { "torrent" } else { "torrents" },
        size(total),
    );
    if shared.is_empty() {
        out.push_str("<section><p>Nothing is shared here yet.</p></section>\n");
    }
    for entry in shared {
        torrent(&mut out, entry, here);
    }
    out.push_str("</body></html>\n");
    out
}

fn torrent(out: &mut String, entry: &Entry, here: SocketAddr) {
    let name = escape_html(&entry.name);
    let files = match entry.files {
        1 => String::new(),
        count => format!(" in {count} files"),
    };
    let percent = percent(entry.have, entry.length);
    let peers = match entry.peers {
        0 => "no peer connected".to_owned(),
        1 => "1 peer connected".to_owned(),
        count => format!("{count} peers connected"),
    };
    let magnet = format!(
        "magnet:?xt=urn:btih:{}&dn={}&tr={}&x.pe={here}",
        entry.info_hash,
        encode(&entry.name),
        encode(&format!("http://{here}/announce")),
    );
    let _ = write!(
        out,
        "<section>\n<h2>{name}</h2>\n<p class=\"soft\">{}{files} &middot; {} &middot; {percent}% \
         here &middot; {peers}</p>\n<progress max=\"100\" value=\"{percent}\"></progress>\n\
         <p>To get it:</p>\n<code>{}</code>\n\
         <p><a href=\"{}\">.torrent</a><a href=\"{}\">magnet link</a></p>\n\
         <p class=\"soft\">info-hash {}</p>\n</section>\n",
        size(entry.length),
        escape_html(&entry.status),
        escape_html(&get_command(&entry.name, Some(here))),
        escape_html(&torrent_path(&entry.name)),
        escape_html(&magnet),
        entry.info_hash,
    );
}

/// The command that gets it, as a shell reads it.
#[must_use]
pub fn get_command(name: &str, from: Option<SocketAddr>) -> String {
    let peer = from.map(|from| format!(" --peer {}", quote(&from.to_string()))).unwrap_or_default();
    let dashes = if name.starts_with('-') { "-- " } else { "" };
    format!("reactor-peer get{peer} {dashes}{}", quote(name))
}

/// Text as it may stand in HTML, in attributes too.
fn escape_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if is_unsafe(c) => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::id::InfoHash;

    #[test]
    fn foreign_names_stay_text() {
        let entry = Entry {
            name: "<script>\"'&\u{202e}.iso".into(),
            info_hash: InfoHash([0xab; 20]),
            length: 3_000_000,
            have: 1_500_000,
            files: 2,
            status: "peer".into(),
            peers: 1,
            made: 0,
        };
        let page = page(&[entry], "10.0.0.1:5000".parse().unwrap());
        assert!(!page.contains("<script") && !page.contains('\u{202e}'), "{page}");
        assert!(page.contains("3.0 MB in 2 files &middot; peer &middot; 50% here"), "{page}");
        assert!(page.contains("href=\"/torrents/%3Cscript%3E%22%27%26%E2%80%AE.iso.torrent\""));
        assert!(page.contains("btih:abababababababababababababababababababab&amp;dn="));
        assert!(!page.contains("src=") && !page.contains("//cdn"));
    }

    #[test]
    fn commands_can_be_pasted() {
        let here = "10.0.0.1:5000".parse().ok();
        assert_eq!(get_command("age.txt", here), "reactor-peer get --peer 10.0.0.1:5000 age.txt");
        assert_eq!(get_command("a b", None), "reactor-peer get 'a b'");
        assert_eq!(get_command("-x", None), "reactor-peer get -- -x");
        assert_eq!(quote("it's $HOME"), "'it'\\''s $HOME'");
        assert_eq!(quote(""), "''");
    }
}
