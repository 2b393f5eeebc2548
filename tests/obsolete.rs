//! Obsolete, mistaken and harmful settings: each is found in a file and, where it counts, in the
//! running kernel. A setting that is right or hidden is not reported. Whatever a file looks like, its
//! lines are judged, or it is said that they set nothing or are not judged.

use fake_host::FakeHost;
use megaconn::walls::obsolete::rules::Plan;
use megaconn::walls::obsolete::setting::{Kind, Setting};
use megaconn::walls::obsolete::settings;

#[expect(dead_code, reason = "this file needs only a part of it")]
mod fake_host;

/// A kernel as it is by default, on a host with 8 GiB.
fn host() -> FakeHost {
    let host = FakeHost::empty();
    host.write("proc/meminfo", "MemTotal:        8388608 kB\n");
    for (key, value) in [
        ("fs.file-max", "800000"),
        ("net.core.somaxconn", "4096"),
        ("net.ipv4.ip_local_port_range", "32768\t60999"),
        ("net.ipv4.tcp_abort_on_overflow", "0"),
        ("net.ipv4.tcp_ehash_entries", "65536"),
        ("net.ipv4.tcp_fack", "0"),
        ("net.ipv4.tcp_fin_timeout", "60"),
        ("net.ipv4.tcp_low_latency", "0"),
        ("net.ipv4.tcp_max_orphans", "32768"),
        ("net.ipv4.tcp_max_tw_buckets", "32768"),
        ("net.ipv4.tcp_mem", "95000\t127000\t190000"),
        ("net.ipv4.tcp_retries2", "15"),
        ("net.ipv4.tcp_rmem", "4096\t131072\t6291456"),
        ("net.ipv4.tcp_syncookies", "1"),
        ("net.ipv4.tcp_timestamps", "1"),
        ("net.ipv4.tcp_tw_reuse", "2"),
        ("net.ipv4.tcp_wmem", "4096\t16384\t4194304"),
        ("net.netfilter.nf_conntrack_tcp_timeout_established", "432000"),
    ] {
        host.sysctl(key, value);
    }
    host
}

/// Connections that arrive at port 7000 here, from here.
fn plan() -> Plan {
    Plan { ports_here: (7000..=7003).collect(), connects_away: false }
}

fn found(host: &FakeHost) -> Vec<Setting> {
    settings(&host.procfs(), &plan())
}

/// Key, a bad value of it, a good one.
const BAD_AND_GOOD: &[(&str, &str, &str)] = &[
    ("net.core.somaxconn", "128", "65535"),
    ("net.ipv4.ip_local_port_range", "1024 65535", "7004 65535"),
    ("net.ipv4.ip_local_port_range", "6000 7000", "1024 6999"),
    ("net.ipv4.tcp_abort_on_overflow", "1", "0"),
    ("net.ipv4.tcp_max_orphans", "32767", "262144"),
    ("net.ipv4.tcp_max_tw_buckets", "5000", "2000000"),
    ("net.ipv4.tcp_mem", "786432 1048576 26777216", "786432 1048576 2097152"),
    ("net.ipv4.tcp_retries2", "5", "8"),
    ("net.ipv4.tcp_rmem", "1048576 1048576 16777216", "4096 131072 16777216"),
    ("net.ipv4.tcp_rmem", "4096 12582912 16777216", "4096 87380 16777216"),
    ("net.ipv4.tcp_syncookies", "0", "1"),
    ("net.ipv4.tcp_syncookies", "2", "1"),
    ("net.ipv4.tcp_timestamps", "0", "2"),
    ("net.ipv4.tcp_tw_reuse", "1", "0"),
    ("net.ipv4.tcp_wmem", "262144 262144 16777216", "8192 65536 16777216"),
    ("net.ipv4.tcp_wmem", "4096 16777216 16777216", "4096 16384 16777216"),
    ("net.netfilter.nf_conntrack_tcp_timeout_established", "600", "86400"),
];

#[test]
fn a_bad_value_is_found_in_a_file_and_in_the_kernel_and_a_good_one_in_neither() {
    assert_eq!(found(&host()), [], "a default kernel is blamed");
    for (key, bad, good) in BAD_AND_GOOD {
        let host = host();
        host.write("etc/sysctl.conf", &format!("# old advice\n{key} = {bad}\n"));
        let [setting] = found(&host).try_into().unwrap();
        assert_eq!((setting.key.as_str(), setting.value.as_str()), (*key, *bad));
        assert_eq!(setting.places, ["/etc/sysctl.conf:2"], "{key}");
        host.sysctl(key, &bad.replace(' ', "\t"));
        let [setting] = found(&host).try_into().unwrap();
        assert_eq!(setting.places, ["/etc/sysctl.conf:2", "running kernel"], "{key}");
        assert!(setting.kind != Kind::Obsolete, "{key}");
        host.write("etc/sysctl.conf", &format!("{key} = {good}\n"));
        let [setting] = found(&host).try_into().unwrap();
        assert_eq!(setting.places, ["running kernel"], "{key}");
        host.sysctl(key, good);
        assert_eq!(found(&host), [], "{key} = {good} is blamed");
        for garbage in ["", "many", "one 2 3", "99999999999999999999999"] {
            host.write("etc/sysctl.conf", "").sysctl(key, garbage);
            assert_eq!(found(&host), [], "{key} = {garbage} is judged");
            // The kernel has the good one, since it refuses this one.
            host.write("etc/sysctl.conf", &format!("{key} = {garbage}\n")).sysctl(key, good);
            let [setting] = found(&host).try_into().unwrap();
            assert_eq!((setting.kind, setting.value.as_str()), (Kind::Refused, garbage), "{key}");
        }
    }
}

#[test]
fn what_does_nothing_is_named_wherever_it_stands_in_a_file() {
    for (key, kind) in [
        ("net.ipv4.tcp_tw_recycle", Kind::Obsolete),
        ("net.ipv4.tcp_low_latency", Kind::Obsolete),
        ("net.ipv4.tcp_fack", Kind::Obsolete),
        ("net.ipv4.route.max_size", Kind::Obsolete),
        ("net.ipv4.ip_conntrack_max", Kind::Obsolete),
        ("net.ipv4.netfilter.ip_conntrack_tcp_timeout_established", Kind::Obsolete),
        ("net.ipv4.tcp_max_ssthresh", Kind::Obsolete),
        ("net.core.no_such_key", Kind::Obsolete),
        ("fs.no-such-key", Kind::Obsolete),
        ("net.ipv4.tcp_fin_timeout", Kind::Mistaken),
    ] {
        let host = host();
        host.write("usr/lib/sysctl.d/10-vendor.conf", &format!("{key}=15\n"));
        let [setting] = found(&host).try_into().unwrap();
        assert_eq!((setting.key.as_str(), setting.kind), (key, kind));
        assert_eq!(setting.places, ["/usr/lib/sysctl.d/10-vendor.conf:1"]);
        // In the kernel it is a default that nobody chose.
        host.sysctl(key, "15").write("usr/lib/sysctl.d/10-vendor.conf", "");
        assert_eq!(found(&host), [], "{key} of the running kernel is blamed");
    }
}

#[test]
fn a_harmful_line_that_a_later_one_undoes_is_passed_over_and_a_useless_one_is_not() {
    let host = host();
    host.write("etc/sysctl.d/10-a.conf", "net.core.somaxconn=128\nnet.ipv4.tcp_tw_recycle=1\n");
    host.write("etc/sysctl.d/20-b.conf", "net.core.somaxconn=8192\nnet.ipv4.tcp_tw_recycle=1\n");
    let [setting] = found(&host).try_into().unwrap();
    assert_eq!(setting.key, "net.ipv4.tcp_tw_recycle");
    assert_eq!(setting.places, ["/etc/sysctl.d/10-a.conf:2", "/etc/sysctl.d/20-b.conf:2"]);
}

#[test]
fn what_a_namespace_hides_or_a_module_or_an_interface_brings_is_not_called_missing() {
    let host = host();
    host.write(
        "etc/sysctl.conf",
        "net.bridge.bridge-nf-call-iptables=1\nnet.ipv4.conf.eth9.rp_filter=1\n\
         net.netfilter.nf_conntrack_max=1000000\nnet.ipv4.neigh.*.gc_thresh3=9\nkernel.x=1\n",
    );
    assert_eq!(found(&host), []);
    host.write("etc/sysctl.conf", "net.ipv4.no_such=1\nnet.core.no_such=1\n");
    assert_eq!(found(&host).len(), 2);
    // A namespace other than the first has no tcp_mem.
    std::fs::remove_file(host.root().join("proc/sys/net/ipv4/tcp_mem")).unwrap();
    assert_eq!(found(&host), []);
}

#[test]
fn a_value_is_judged_by_the_plan_and_by_the_host_it_is_for() {
    let host = host();
    host.sysctl("net.ipv4.tcp_tw_reuse", "1").sysctl("net.ipv4.ip_local_port_range", "1024 65535");
    assert_eq!(found(&host).len(), 2);
    assert_eq!(settings(&host.procfs(), &Plan { ports_here: vec![], connects_away: true }), []);
    // Shared with the host, as a namespace has it, and unknown, as before Linux 6.1.
    host.sysctl("net.ipv4.tcp_max_tw_buckets", "100")
        .sysctl("net.ipv4.tcp_ehash_entries", "-65536");
    assert_eq!(found(&host).len(), 3);
    std::fs::remove_file(host.root().join("proc/sys/net/ipv4/tcp_ehash_entries")).unwrap();
    assert_eq!(found(&host).len(), 2, "tcp_max_tw_buckets is judged by an unknown");
}

#[test]
fn what_hurts_comes_first_and_every_reason_has_its_source() {
    let host = host();
    let lines = BAD_AND_GOOD.iter().map(|(key, bad, _)| format!("{key} = {bad}\n"));
    let old = ["net.ipv4.tcp_fack=1\n".to_owned(), "net.ipv4.tcp_fin_timeout=9\n".to_owned()];
    for (index, line) in old.into_iter().chain(lines).enumerate() {
        host.write("etc/sysctl.conf", &line);
        let found = found(&host);
        assert_eq!(found.len(), 1, "{index}: {line}");
        let Setting { reason, instead, source, .. } = &found[0];
        assert!(![*reason, *instead, *source].contains(&""), "{line}");
    }
    host.write(
        "etc/sysctl.conf",
        "net.ipv4.tcp_fack=1\nnet.ipv4.tcp_fin_timeout=9\nnet.core.somaxconn=9\n",
    );
    let kinds: Vec<Kind> = found(&host).iter().map(|setting| setting.kind).collect();
    assert_eq!(kinds, [Kind::Harmful, Kind::Mistaken, Kind::Obsolete]);
}

/// What is found in a file: kind and line, which is 0 for the file itself.
type Said = &'static [(Kind, usize)];

/// What is special about a file, its bytes, and what is found in it.
const FILES: &[(&str, &[u8], Said)] = &[
    ("GBK comment", b"# \xd7\xee\xb4\xf3\xc1\xac\xbd\xd3\\\nnet.core.somaxconn=128\n", HARM_2),
    ("Latin-1 comment", b"; gr\xf6\xdfer\nnet.core.somaxconn=128 # f\xfcr alle\n", HARM_2),
    ("GBK behind the value", b"net.core.somaxconn = 128 # \xb6\xd3\xc1\xd0\n", HARM_1),
    ("CRLF", b"# x\r\nnet.core.somaxconn = 128\r\n", HARM_2),
    ("old Mac line ends", b"net.core.somaxconn = 128\rnet.core.somaxconn = 4096\r", REFUSED_1),
    ("mark before a key", b"\xef\xbb\xbfnet.core.somaxconn = 128\n", REFUSED_1),
    ("mark before a comment", b"\xef\xbb\xbf# x = 1\nnet.core.somaxconn = 128\n", HARM_2),
    ("no line end", b"net.core.somaxconn=128", HARM_1),
    ("blank", b"\n \t\n\x0c\n#\n;\n#net.core.somaxconn=1\n", &[]),
    ("comment behind", b"net.core.somaxconn = 128 # why = 1\n", HARM_1),
    ("comment touches", b"net.core.somaxconn = 128# why\n", REFUSED_1),
    ("backslash", b"net.core.somaxconn = 128 \\\n", HARM_1),
    ("double quotes", b"net.core.somaxconn = \"128\"\n", REFUSED_1),
    ("single quotes", b"net.core.somaxconn='4096'\n", REFUSED_1),
    ("quoted key", b"\"net.core.somaxconn\" = 128\n", REFUSED_1),
    ("semicolon", b"net.core.somaxconn = 128;\n", REFUSED_1),
    ("no-break space", b"net.core.somaxconn = 128\xc2\xa0\n", REFUSED_1),
    ("no-break space in the key", b"net.core.somaxconn\xc2\xa0= 128\n", REFUSED_1),
    ("command", b"sysctl -w net.core.somaxconn=128\n", REFUSED_1),
    ("command with sudo", b"  sudo sysctl -w net.core.somaxconn=128\n", REFUSED_1),
    ("command and quotes", b"sysctl -w \"net.ipv4.tcp_rmem=1 2 3\"\n", REFUSED_1),
    ("echo", b"echo 128 > /proc/sys/net/core/somaxconn\n", REFUSED_1),
    ("no equals", b"net.core.somaxconn 128\n", REFUSED_1),
    ("colon", b"net.core.somaxconn: 128\n", REFUSED_1),
    ("no key", b" = 128\n", REFUSED_1),
    ("no value", b"net.core.somaxconn =\n", REFUSED_1),
    ("plus", b"net.core.somaxconn += 128\n", REFUSED_1),
    ("zero byte", b"net.core.somaxconn\0 = 128\n", REFUSED_1),
    ("octal", b"net.core.somaxconn = 0200\n", HARM_1),
    ("hexadecimal", b"net.core.somaxconn = 0x80\n", HARM_1),
    ("too many figures", b"net.core.somaxconn = 128 65535\n", HARM_1),
    ("too few figures", b"net.ipv4.ip_local_port_range = 1024\n", HARM_1),
    ("figures with tabs", b"net.ipv4.ip_local_port_range\t=\t1024\t \t65535\n", HARM_1),
    ("figures with a hyphen", b"net.ipv4.ip_local_port_range = 1024-65535\n", REFUSED_1),
    ("reversed", b"net.ipv4.ip_local_port_range = 65535 1024\n", REFUSED_1),
    ("thousands", b"net.core.somaxconn = 65,535\n", REFUSED_1),
    ("unit", b"net.core.somaxconn = 64k\n", REFUSED_1),
    ("below zero", b"net.core.somaxconn = -1\n", REFUSED_1),
    ("out of bounds", b"net.ipv4.tcp_retries2 = 256\n", REFUSED_1),
    ("failure is ignored", b"-net.core.somaxconn = 128\n", HARM_1),
    ("dash and space", b"- net.core.somaxconn = 128\n", HARM_1),
    ("slashes", b"net/core/somaxconn = 128\n", HARM_1),
    ("slashes and dots", b"net/core.somaxconn = 128\n", &[(Kind::Obsolete, 1)]),
    ("dots and slashes", b"net.core/somaxconn = 128\n", &[(Kind::Obsolete, 1)]),
    ("repeated dots", b".net..core.somaxconn = 128\n", HARM_1),
    ("whole path", b"/proc/sys/net/core/somaxconn = 128\n", &[(Kind::Obsolete, 1)]),
    ("interface with a dot", b"net.ipv4.conf.eth0/200.rp_filter = 0\n", &[]),
    ("two names of one key", b"net/core/somaxconn = 128\nnet.core.somaxconn = 4096\n", &[]),
    ("twice, good last", b"net.core.somaxconn = 128\nnet.core.somaxconn = 4096\n", &[]),
    ("twice, bad last", b"net.core.somaxconn = 4096\nnet.core.somaxconn = 128\n", HARM_2),
    (
        "undone by what is refused",
        b"net.core.somaxconn = 128\nnet.core.somaxconn = \"4096\"\n",
        &[(Kind::Harmful, 1), (Kind::Refused, 2)],
    ),
    ("pattern", b"net.core.somax* = 128\n", HARM_1),
    ("pattern for one part", b"net.*.somaxconn = 128\n", HARM_1),
    ("pattern of too few parts", b"net.* = 128\n", &[]),
    ("pattern and own line", b"net.core.somaxconn = 4096\nnet.core.somax* = 128\n", &[]),
    ("pattern and exclusion", b"net.core.somax* = 128\n-net.core.somaxconn\n", &[]),
    ("UTF-16", b"\xff\xfen\0e\0t\0.\0a\0=\x001\0\n\0", &[(Kind::Unread, 0)]),
];

const HARM_1: Said = &[(Kind::Harmful, 1)];
const HARM_2: Said = &[(Kind::Harmful, 2)];
const REFUSED_1: Said = &[(Kind::Refused, 1)];

#[test]
fn every_way_in_which_a_file_is_written_is_judged_or_said_not_to_be() {
    for (name, bytes, expected) in FILES {
        let host = host();
        host.write("etc/sysctl.d/50-x.conf", "");
        std::fs::write(host.root().join("etc/sysctl.d/50-x.conf"), bytes).unwrap();
        let place = |setting: &Setting| -> usize {
            let [place] = &setting.places[..] else { panic!("{name}: {setting:?}") };
            let rest = place.strip_prefix("/etc/sysctl.d/50-x.conf").unwrap();
            rest.strip_prefix(':').map_or(0, |line| line.parse().unwrap())
        };
        let found = found(&host);
        let said: Vec<_> = found.iter().map(|setting| (setting.kind, place(setting))).collect();
        assert_eq!(said, *expected, "{name}: {found:?}");
    }
}

#[test]
fn what_is_no_readable_file_is_named_and_never_waited_for() {
    let host = host();
    let directory = host.root().join("etc/sysctl.d");
    std::fs::create_dir_all(directory.join("directory.conf")).unwrap();
    let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, directory.join(name)).unwrap();
    for (name, to) in [
        ("dangling.conf", "nowhere"),
        ("full.conf", "/dev/full"),
        ("loop.conf", "loop.conf"),
        ("masked.conf", "/dev/null"),
        ("zero.conf", "/dev/zero"),
    ] {
        link(to, name);
        host.write(&format!("usr/lib/sysctl.d/{name}"), "net.core.somaxconn = 128\n");
    }
    let pipe = std::process::Command::new("mkfifo").arg(directory.join("pipe.conf")).status();
    assert!(pipe.unwrap().success());
    std::fs::write(directory.join("long.conf"), "#\n".repeat(1 << 20)).unwrap();
    let latin: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"gr\xf6.conf");
    std::fs::write(directory.join(latin), "net.core.somaxconn = 128\n").unwrap();
    let procfs = host.procfs();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || tell.send(settings(&procfs, &plan())));
    let found = told.recv_timeout(std::time::Duration::from_secs(10)).expect("a reading waits");
    let mut said: Vec<&str> = found.iter().map(|setting| setting.key.as_str()).collect();
    said.sort_unstable();
    let names = ["dangling", "directory", "full", "gr\u{fffd}", "long", "loop", "pipe", "zero"];
    assert_eq!(said, names.map(|name| format!("/etc/sysctl.d/{name}.conf")));
    assert!(found.iter().all(|setting| setting.kind == Kind::Unread));
    let reasons = |name: &str| found.iter().find(|s| s.key.contains(name)).unwrap().reason;
    assert!(reasons("dangling").starts_with("a link to nothing"));
    assert!(reasons("loop").contains("cannot be read") && reasons("long").contains("1 MiB"));
}

#[test]
fn a_bad_line_that_the_running_kernel_does_not_follow_says_what_the_next_boot_does() {
    let host = host();
    let running = || found(&host).into_iter().map(|s| (s.places, s.running)).collect::<Vec<_>>();
    let file = "/etc/sysctl.conf:1".to_owned();
    host.write("etc/sysctl.conf", "net.core.somaxconn = 128 # old\n");
    assert_eq!(running(), [(vec![file.clone()], Some("4096".to_owned()))]);
    host.sysctl("net.core.somaxconn", "128");
    let kernel = "running kernel".to_owned();
    assert_eq!(running(), [(vec![file.clone()], None), (vec![kernel], None)]);
    std::fs::remove_file(host.root().join("proc/sys/net/core/somaxconn")).unwrap();
    assert_eq!(running()[0], (vec![file], None), "what runs is unknown");
}

/// Pieces of real lines and any bytes between them, from a generator with a seed.
#[test]
fn no_soup_of_bytes_ends_it() {
    let host = host();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    host.write("etc/sysctl.conf", "");
    for round in 0..2_000 {
        let mut bytes = Vec::new();
        for _ in 0..next(40) {
            match next(4) {
                0 => bytes.push(u8::try_from(next(256)).unwrap()),
                1 => bytes.push(b"=#;-./*?[]!\n\r\0 \t\"0x"[usize::try_from(next(19)).unwrap()]),
                _ => {
                    let (_, file, _) = FILES[usize::try_from(next(FILES.len() as u64)).unwrap()];
                    let end = usize::try_from(next(file.len() as u64 + 1)).unwrap();
                    bytes.extend_from_slice(&file[..end]);
                }
            }
        }
        std::fs::write(host.root().join("etc/sysctl.conf"), &bytes).unwrap();
        for setting in found(&host) {
            let shown = format!("{}{}", setting.key, setting.places.concat());
            assert!(!setting.places.is_empty() && !shown.contains('\n'), "round {round}");
        }
    }
}

#[test]
fn a_long_file_of_nothing_but_faults_takes_little_time() {
    let host = host();
    let lines = (0..30_000).map(|n| format!("fs.a{n}\n")).collect::<String>();
    host.write("etc/sysctl.d/a.conf", &lines);
    host.write("etc/sysctl.d/b.conf", &lines.replace('\n', "=1\n"));
    let start = std::time::Instant::now();
    assert!(found(&host).len() == 60_000);
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}

#[test]
fn this_host_is_read_without_harm() {
    let procfs = megaconn::host::procfs::ProcFs::host();
    for setting in settings(&procfs, &plan()) {
        println!("{setting:?}");
        assert!(!setting.places.is_empty());
    }
}
