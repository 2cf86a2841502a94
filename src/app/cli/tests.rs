//! Command lines as people type them, and what they mean.

use super::values::piece_length;
use super::*;

fn try_parse(line: &str) -> Result<Command, UsageError> {
    parse(&line.split_whitespace().map(OsString::from).collect::<Vec<_>>())
}

fn ok(line: &str) -> Command {
    try_parse(line).unwrap_or_else(|error| panic!("{line}: {error}"))
}

fn run(line: &str) -> Run {
    match ok(line) {
        Command::Run(run) => run,
        other => panic!("{line}: {other:?}"),
    }
}

fn refused(line: &str) -> String {
    let UsageError(text) = try_parse(line).unwrap_err();
    assert!(!text.contains('\n') && !text.is_empty(), "one line: {text:?}");
    text
}

#[test]
fn the_form_of_the_design_card() {
    let Run { network, torrents, shareable } = run("--listen 5000 --max-conns 6");
    assert_eq!((network.listen, network.max_conns), (5000, 6));
    assert_eq!(torrents, PathBuf::from("torrents"));
    assert_eq!(shareable, PathBuf::from("shareable"));
    assert!(!network.client_ports_any && !network.exit_when_complete && network.state.is_none());
    assert_eq!(run(""), run("--listen 5000 --max-conns 6"));
}

#[test]
fn every_way_to_write_an_option() {
    for line in ["--listen 6000 -q", "--listen=6000 --quiet", "-l6000 -q", "-q -l 6000"] {
        let network = run(line).network;
        assert!(network.listen == 6000 && network.quiet, "{line}");
    }
    let network = run(
        "--peer a --peer=b:5001 -p[::1]:5000 --peers-file f --client-ports any --listen 65535 \
         --bind [::1] --seed-dials --no-lsd --no-dht --no-pex --log-level debug --log-file l \
         --exit-when-complete --max-inbound 7 --upload-slots 2 --state s",
    )
    .network;
    assert_eq!(network.peers, ["a", "b:5001", "[::1]:5000"]);
    assert_eq!(network.bind, Some(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])));
    assert!(
        network.client_ports_any
            && !network.lsd
            && network.seed_dials
            && network.exit_when_complete
    );
    assert_eq!((network.max_inbound, network.upload_slots), (7, Some(2)));
    assert_eq!(network.log_level, LevelFilter::Debug);
}

#[test]
fn rates_and_goals() {
    let network = run("--max-up 500K --max-down=2.5m --seed-ratio 1.25 --seed-time 5m").network;
    assert_eq!((network.max_up, network.max_down), (Some(512_000), Some(2_621_440)));
    let time = Some(std::time::Duration::from_secs(300));
    assert_eq!(network.goal, Goal { per_mille: Some(1250), time });
    let none = run("--max-up 0 --max-down 0.0K").network;
    assert_eq!((none.max_up, none.max_down, none.goal), (None, None, Goal::default()));
    assert_eq!(run("--max-up 1").network.max_up, Some(1));
    for line in [
        "--max-up=-1",
        "--max-up fast",
        "--max-up 1.2345M",
        "--max-down 9999999999999",
        "--max-up .5K",
        "--max-up 0.001",
        "--max-up K",
        "--seed-ratio=-1",
        "--seed-ratio 1e3",
        "--seed-ratio 5000000",
        "--seed-time 5d",
        "--max-down ",
    ] {
        refused(line);
    }
}

#[test]
fn the_dht_and_the_open_internet() {
    let lan = run("--dht-bootstrap a:6881 --dht-bootstrap=b").network;
    assert!(lan.dht && !lan.public && !lan.client_ports_any);
    assert_eq!(lan.dht_bootstrap, ["a:6881", "b"]);
    assert!(!run("--no-dht").network.dht);
    let public = run("--public").network;
    assert!(public.public && public.client_ports_any && public.max_conns == 50);
    assert_eq!(run("--public -m 7 -l 65535").network.max_conns, 7);
    for line in ["--public --client-ports range", "--client-ports=range --public"] {
        let named = run(line).network;
        assert!(named.public && !named.client_ports_any && named.max_conns == 50, "{line}");
    }
}

#[test]
fn options_before_and_after_the_command() {
    let show = Command::Show { file: "f".into(), json: true, piece: Some(3) };
    for line in ["show f --json --piece 3", "--json show --piece=3 f", "show --json --piece 3 -- f"]
    {
        assert_eq!(ok(line), show, "{line}");
    }
    let Command::Get { torrent, output, network, wait: None, select: None } =
        ok("--listen=6000 get x.torrent -oout -p h")
    else {
        panic!("get")
    };
    assert_eq!((torrent.as_str(), output), ("x.torrent", "out".into()));
    assert!(network.listen == 6000 && network.peers == ["h"] && network.exit_when_complete);
    assert_eq!(
        ok("check --shareable=s -- -rf"),
        Command::Check { file: "-rf".into(), shareable: "s".into() }
    );
    assert_eq!(
        ok("set-announce f 10.0.0.1 http://b/"),
        Command::SetAnnounce {
            file: "f".into(),
            addresses: vec!["10.0.0.1".into(), "http://b/".into()]
        }
    );
}

#[test]
fn create_takes_values_that_look_like_options() {
    assert_eq!(
        ok("create p -a x --announce y --piece-length 256K --private --comment --help -o z"),
        Command::Create {
            path: "p".into(),
            announces: vec!["x".into(), "y".into()],
            piece_length: Some(256 * 1024),
            private: true,
            comment: Some("--help".into()),
            output: Some("z".into()),
        }
    );
    assert_eq!(piece_length("16384"), Ok(16384));
    assert_eq!(piece_length("1MiB"), Ok(1 << 20));
    for bad in ["0", "-1", "1G", "513M", "4194304K", "99999999999", "", "K"] {
        assert!(piece_length(bad).is_err(), "{bad}");
    }
}

#[test]
fn numbers_are_checked_in_words() {
    let port = "a port is a number from 1 to 65535";
    for bad in ["0", "65536", "x", "+5", "-5", "99999999999999999999"] {
        let text = refused(&format!("--listen {bad}"));
        assert!(text.contains(port) && text.contains("--listen") && text.contains(bad), "{text}");
    }
    assert!(refused("--max-conns 0").contains("from 1 to 65534"));
    assert!(refused("--listen 65530").contains("no 6 client ports after port 65530"));
    assert!(refused("get f --listen 65530").contains("--client-ports any"));
    run("--listen 65529");
    assert!(refused("--client-ports some").contains("'range' or 'any'"));
    assert!(refused("--log-level trace").contains("off, error"));
    for bind in ["host", "224.0.0.1", "ff02::1", "255.255.255.255"] {
        assert!(refused(&format!("--bind {bind}")).contains("IPv4 or IPv6"), "{bind}");
    }
}

#[test]
fn what_is_not_there_is_refused() {
    for unknown in ["--max-speed=5", "--rpc x", "-z", "-z5", "--sequential 1"] {
        let text = refused(unknown);
        assert!(text.contains("no such option") || text.contains("Unrecognized"), "{text}");
    }
    assert!(refused("shwo f").contains("no command 'shwo'; there are: get, share"));
    assert!(refused("x\x1b[2J").contains("\\u{1b}"));
    assert!(refused("--quiet=yes").contains("takes no value"));
    assert!(refused("--listen").contains("--listen"));
    assert!(refused("show").contains("FILE"));
    refused("show a b");
    refused("set-announce f");
    refused("--torrents x show f");
    refused("get f --exit-when-complete");
}

#[test]
fn help_and_version_from_anywhere() {
    assert_eq!(ok("-V"), Command::Version);
    assert_eq!(ok("--listen 5 --version"), Command::Version);
    for line in ["--help", "-h", "--listen 5 -h"] {
        let Command::Help(text) = ok(line) else { panic!("{line}") };
        assert!(text.contains("--max-conns") && text.contains("set-announce"), "{text}");
        assert!(!text.contains("rpc"), "{text}");
    }
    let Command::Help(text) = ok("create -h") else { panic!("create") };
    assert!(text.contains("--piece-length") && text.contains("Thumbs.db"), "{text}");
}

#[test]
fn an_option_takes_a_value_in_all_commands_or_in_none() {
    let info = Args::get_args_info();
    let mut seen = std::collections::BTreeMap::new();
    for flag in info.commands.iter().flat_map(|sub| sub.command.flags).chain(info.flags) {
        let takes_value = matches!(flag.kind, FlagInfoKind::Option { .. });
        for name in [flag.long.to_string(), flag.short.map(String::from).unwrap_or_default()] {
            assert_eq!(*seen.entry(name.clone()).or_insert(takes_value), takes_value, "{name}");
            if name.is_empty() {
                seen.remove(&name);
            }
        }
    }
}

#[test]
fn times_have_units() {
    let wait = |text: &str| match ok(&format!("get x.torrent --wait {text}")) {
        Command::Get { wait, .. } => wait.map(|wait| wait.as_secs()),
        other => panic!("{other:?}"),
    };
    assert_eq!(wait("90"), Some(90));
    assert_eq!(
        (wait("0"), wait("7s"), wait("5m"), wait("2h")),
        (Some(0), Some(7), Some(300), Some(7200))
    );
    for bad in ["", "s", "5d", "-1", "5 m", "9999999999"] {
        let args: Vec<OsString> = ["get", "x", "--wait", bad].iter().map(OsString::from).collect();
        assert!(parse(&args).is_err(), "{bad}");
    }
}

#[test]
fn lists_of_files() {
    let Command::Get { select: Some(choice), .. } = ok("get x.torrent --select 0,2,4-6") else {
        panic!("get")
    };
    assert_eq!(choice.to_string(), "0,2,4-6");
    let Command::Control { request: Request::Add(what, Some(choice)), .. } =
        ok("add --select=3 magnet:?x")
    else {
        panic!("add")
    };
    assert_eq!((what.as_str(), choice.to_string().as_str()), ("magnet:?x", "3"));
    for line in
        ["get x --select a", "get x --select 5-4", "add x --select 1,,2", "show x --select 1"]
    {
        let error = parse(&line.split(' ').map(OsString::from).collect::<Vec<_>>()).unwrap_err();
        assert!(error.0.contains("list of file indices") || line.starts_with("show"), "{error}");
    }
}
