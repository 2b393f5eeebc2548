//! Each form of a header at every cut, and each way in which one is wrong.

use super::*;

const MOST: usize = 4_096;

fn ends(source: &str, target: &str) -> Option<Ends> {
    let address = |text: &str| text.parse().expect("an address");
    Some(Ends { source: address(source), target: address(target) })
}

fn binary(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let size = u16::try_from(block.len()).expect("a block is short");
    [&SIGNATURE[..], &[command, family], &size.to_be_bytes(), block].concat()
}

/// A block with addresses of so many bytes each, and something behind them.
fn block(address_bytes: usize, more: usize) -> Vec<u8> {
    let mut block = vec![0; 2 * address_bytes];
    (block[address_bytes - 1], block[2 * address_bytes - 1]) = (1, 2);
    block.extend([0x1f, 0x90, 0, 80]);
    block.extend(vec![0xee; more]);
    block
}

/// Those that are taken, with what they say.
fn good() -> Vec<(Vec<u8>, Option<Ends>)> {
    let line = |text: &str| format!("PROXY {text}\r\n").into_bytes();
    let (v4, v6) = (ends("0.0.0.1:8080", "0.0.0.2:80"), ends("[::1]:8080", "[::2]:80"));
    let unix = vec![7; 216];
    let longest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let far = format!("[{longest}]:65535");
    vec![
        (line("TCP4 0.0.0.1 0.0.0.2 8080 80"), v4),
        (line("TCP4 255.255.255.255 0.0.0.0 65535 0"), ends("255.255.255.255:65535", "0.0.0.0:0")),
        (line("TCP6 ::1 ::2 8080 80"), v6),
        (line(&format!("TCP6 {longest} {longest} 65535 65535")), ends(&far, &far)),
        (line("UNKNOWN"), None),
        (line(&format!("UNKNOWN {longest} {longest} 65535 65535")), None),
        (line("UNKNOWN \u{0}\r any, \n of it"), None),
        (binary(LOCAL, 0, b""), None),
        (binary(LOCAL, 0x11, &block(4, 0)), None),
        // What a connection of the proxy's own says of addresses is not read.
        (binary(LOCAL, 0xff, b"abc"), None),
        (binary(PROXY, 0, b""), None),
        (binary(PROXY, 0, b"abc"), None),
        (binary(PROXY, 0x11, &block(4, 0)), v4),
        (binary(PROXY, 0x12, &block(4, 0)), v4),
        (binary(PROXY, 0x11, &block(4, 300)), v4),
        (binary(PROXY, 0x21, &block(16, 0)), v6),
        (binary(PROXY, 0x22, &block(16, 9)), v6),
        (binary(PROXY, 0x31, &unix), None),
        (binary(PROXY, 0x32, &unix), None),
        // As long as may be.
        (binary(PROXY, 0x11, &block(4, MOST - HEAD_BYTES - 12)), v4),
    ]
}

#[test]
fn a_header_is_read_at_every_cut_and_what_follows_is_left() {
    for (header, ends) in good() {
        for cut in 0..header.len() {
            assert_eq!(read(&header[..cut], MOST), Found::NeedMore, "{cut} of {header:?}");
        }
        let found = Found::Header { size: header.len(), ends };
        for more in ["", "P", "\r\n", "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n"] {
            assert_eq!(read(&[&header, more.as_bytes()].concat(), MOST), found, "{header:?}");
        }
    }
}

#[test]
fn what_is_no_header_is_known_whatever_follows() {
    let line = |text: &str| format!("{text}\r\n").into_bytes();
    let words = [
        "",
        "TCP4",
        "TCP4 ",
        "TCP4 1.2.3.4",
        "TCP4 1.2.3.4 5.6.7.8",
        "TCP4 1.2.3.4 5.6.7.8 1",
        "TCP4 1.2.3.4 5.6.7.8 1 ",
        "TCP4 1.2.3.4 5.6.7.8 1 2 ",
        "TCP4 1.2.3.4 5.6.7.8 1 2 3",
        "TCP4  1.2.3.4 5.6.7.8 1 2",
        " TCP4 1.2.3.4 5.6.7.8 1 2",
        "TCP4\t1.2.3.4 5.6.7.8 1 2",
        "TCP4 1.2.3.4 5.6.7.8 1 2\n",
        "TCP4 1.2.3.4 5.6.7.8 1 2\r",
        "TCP4 1.2.3 5.6.7.8 1 2",
        "TCP4 1.2.3.04 5.6.7.8 1 2",
        "TCP4 1.2.3.256 5.6.7.8 1 2",
        "TCP4 ::1 ::2 1 2",
        "TCP6 1.2.3.4 5.6.7.8 1 2",
        "TCP6 ::1 1.2.3.4 1 2",
        "TCP6 ::1%1 ::2 1 2",
        "TCP6 [::1] ::2 1 2",
        "TCP4 1.2.3.4 5.6.7.8 65536 2",
        "TCP4 1.2.3.4 5.6.7.8 1 65536",
        "TCP4 1.2.3.4 5.6.7.8 01 2",
        "TCP4 1.2.3.4 5.6.7.8 1 00",
        "TCP4 1.2.3.4 5.6.7.8 +1 2",
        "TCP4 1.2.3.4 5.6.7.8 -1 2",
        "TCP4 1.2.3.4 5.6.7.8 0x1 2",
        "tcp4 1.2.3.4 5.6.7.8 1 2",
        "UDP4 1.2.3.4 5.6.7.8 1 2",
        "UNIX /a /b",
        "unknown",
        "UNKNOW",
    ];
    let lines = words.map(|words| line(&format!("PROXY {words}")));
    let others = [
        line("GET / HTTP/1.1"),
        line("proxy TCP4 1.2.3.4 5.6.7.8 1 2"),
        line("PROXY_TCP4 1.2.3.4 5.6.7.8 1 2"),
        vec![0; 64],
        b"\x16\x03\x01".to_vec(),
        b"\r\n\r\n\0\r\nQUIT\r".to_vec(),
        b"PROXY TCP4 \xff\xff \xff \xff\r\n".to_vec(),
        // A line that is a byte too long, and one without an end.
        line(&format!("PROXY UNKNOWN{}", " ".repeat(LINE_BYTES_MAX - 14))),
        format!("PROXY UNKNOWN{}", " ".repeat(LINE_BYTES_MAX - 13)).into_bytes(),
    ];
    let blocks = [
        // Another version, another command.
        binary(0x11, 0x11, &block(4, 0)),
        binary(0x01, 0x11, &block(4, 0)),
        binary(0x31, 0x11, &block(4, 0)),
        binary(0x22, 0x11, &block(4, 0)),
        binary(0x2f, 0x11, &block(4, 0)),
        // Another family, another transport.
        binary(PROXY, 0x01, b""),
        binary(PROXY, 0x10, &block(4, 0)),
        binary(PROXY, 0x13, &block(4, 0)),
        binary(PROXY, 0x20, &block(16, 0)),
        binary(PROXY, 0x30, &[0; 216]),
        binary(PROXY, 0x41, &[0; 216]),
        // Addresses that are cut.
        binary(PROXY, 0x11, &block(4, 0)[..11]),
        binary(PROXY, 0x21, &block(16, 0)[..35]),
        binary(PROXY, 0x31, &[0; 215]),
        binary(PROXY, 0x11, b""),
        // A byte too long.
        binary(PROXY, 0x11, &block(4, MOST - HEAD_BYTES - 11)),
        binary(LOCAL, 0, &[0; MOST]),
    ];
    for bytes in lines.into_iter().chain(others).chain(blocks) {
        assert_eq!(read(&bytes, MOST), Found::Malformed, "{:?}", bytes.escape_ascii().to_string());
        let more = [&bytes[..], &[b' '; LINE_BYTES_MAX]].concat();
        assert_eq!(read(&more, MOST), Found::Malformed);
        // A beginning of it is wrong as well, or may still come right.
        let is_header = |cut| matches!(read(&bytes[..cut], MOST), Found::Header { .. });
        assert!(!(0..bytes.len()).any(is_header));
    }
}

/// A block that is too long is refused when its length has come, and not when the buffer is full.
#[test]
fn a_length_that_cannot_be_is_not_waited_for() {
    let head = &binary(PROXY, 0x21, &[0; 5_000])[..HEAD_BYTES];
    assert_eq!(read(head, MOST), Found::Malformed);
    assert_eq!(read(&head[..HEAD_BYTES - 1], MOST), Found::NeedMore);
}

#[test]
fn what_is_written_has_its_bytes() {
    let written = |version: Version, ends: Option<Ends>| {
        let mut out = [0xa5; LINE_BYTES_MAX];
        let size = version.write(ends.expect("an address"), &mut out);
        assert!(out[size..].iter().all(|byte| *byte == 0xa5), "nothing is written behind it");
        out[..size].to_vec()
    };
    let v4 = ends("127.0.0.2:8080", "10.0.0.1:80");
    assert_eq!(written(Version::V1, v4), b"PROXY TCP4 127.0.0.2 10.0.0.1 8080 80\r\n");
    let block = [127, 0, 0, 2, 10, 0, 0, 1, 0x1f, 0x90, 0, 80];
    assert_eq!(written(Version::V2, v4), binary(0x21, 0x11, &block));
    let longest = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535";
    assert_eq!(written(Version::V1, ends(longest, longest)).len(), 104);
    assert_eq!(written(Version::V2, ends(longest, longest)), binary(0x21, 0x21, &[0xff; 36]));
    // Of two families.
    let both = ends("127.0.0.2:8080", "[::1]:80");
    assert_eq!(written(Version::V1, both), b"PROXY UNKNOWN\r\n");
    assert_eq!(written(Version::V2, both), binary(0x21, 0, b""));
}
