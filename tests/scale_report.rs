//! The report of a scaling run: curves and law of what is in `scale.csv`, what is not is said, and no
//! text in it is more than text.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::path::Path;

use fake_run::FakeRun;
use megaconn::report::{self, ReportError};

#[expect(dead_code, reason = "this file needs only a part of it")]
mod fake_run;

const HEAD: &str = "cores,connections,repeat,shared_cores,connect_per_s,messages_per_s,\
     server_cpu_us_per_message,client_cpu_us_per_message,p50_us,p99_us,kernel_bytes_per_connection,\
     server_bytes_per_connection,client_bytes_per_connection,established,lost,verdict,commit\n";

/// A run, of so many cores and connections; of the law with these constants, and nothing else.
fn line(cores: u32, connections: u32, repeat: u32, shared: &str, constants: [f64; 3]) -> String {
    let n = f64::from(cores);
    let [lambda, sigma, kappa] = constants;
    let rate = lambda * n / (1.0 + sigma * (n - 1.0) + kappa * n * (n - 1.0));
    let noise = 1.0 + 0.01 * f64::from(repeat - 1);
    format!(
        "{cores},{connections},{repeat},{shared},{:.3},{:.3},6.5,7.5,1000,2000,8302,44,42,\
         {connections},0,met,abc123\n",
        rate / 3.0 * noise,
        rate * noise
    )
}

fn scaling(cores: &[u32], shared: &str) -> String {
    let mut csv = HEAD.to_owned();
    for repeat in 1..=3 {
        for connections in [1_000, 100_000] {
            for cores in cores {
                csv += &line(*cores, connections, repeat, shared, [150_000.0, 0.05, 1e-3]);
            }
        }
    }
    csv
}

fn of(csv: &str) -> FakeRun {
    let run = FakeRun::empty("scaled");
    run.write("scale.csv", csv);
    run
}

fn html_of(dirs: &[&Path]) -> Result<String, ReportError> {
    report::html(&dirs.iter().map(|dir| dir.to_path_buf()).collect::<Vec<_>>())
}

/// The text of the page of a file, without tags and style.
fn text(csv: &str) -> String {
    let html = html_of(&[of(csv).path()]).unwrap();
    let body = html.split("</style>").nth(1).unwrap();
    body.split('<').filter_map(|part| part.split_once('>')).map(|(_, text)| text).collect()
}

#[test]
fn the_law_is_found_where_there_are_cores_enough() {
    let csv = scaling(&[1, 2, 4, 8, 16, 32], "no");
    let html = html_of(&[of(&csv).path()]).unwrap();
    assert_eq!(html.matches("class=\"plot\"").count(), 12, "six figures, by cores and connections");
    let text = text(&csv);
    for expected in [
        "megaconn: scaling, scaled",
        "runs36",
        "cores of each end1, 2, 4, 8, 16, 32",
        "connections1k, 100k",
        "1k connections, by the law",
        "32 cores",
        "ideal",
        // Means of repeats that are 0 %, 1 % and 2 % too high; sigma and kappa do not see that.
        "Messages1,000apart151.5k/s ± ",
        "0.0500 ± ",
        "0.001000 ± ",
        // The square root of 0.95 / 0.001.
        "31 cores",
        "/s with 64",
        "arXiv 0808.1431",
        // Median, least and most.
        "151.5k/s150.0k/s – 153.0k/s",
        "6.50 us",
        "8,302 B",
    ] {
        assert!(text.contains(expected), "{expected:?} is missing in {text}");
    }
    let warnings = [
        "No fit",
        "Shared CPUs:",
        "Several commits",
        "Not whole",
        "Runs that missed",
        "Environment",
    ];
    for unexpected in warnings {
        assert!(!text.contains(unexpected), "{unexpected:?} is in {text}");
    }
}

#[test]
fn a_fit_takes_three_numbers_of_cores_of_one_kind() {
    let two = text(&scaling(&[1, 2], "no"));
    assert!(two.contains("No fit: it takes 3 numbers of cores of the same kind"), "{two}");
    assert!(two.contains("and there are 2 here") && !two.contains("by the law"), "{two}");
    let three = text(&scaling(&[1, 2, 4], "no"));
    assert!(three.contains("Three numbers of cores give the three constants"), "{three}");
    // The law turns at 31 cores, and of 4 nobody can know that.
    assert!(three.contains("beyond 8 cores, if at all"), "{three}");
    let mut mixed = scaling(&[1, 2], "no");
    mixed += scaling(&[4], "yes").split_once('\n').unwrap().1;
    let mixed = text(&mixed);
    assert!(mixed.contains("and there are 2 here"), "{mixed}");
    assert!(mixed.contains("Shared CPUs: with 4 cores both ends ran on the same CPUs"), "{mixed}");
    assert!(mixed.contains("4 cores, shared CPUs"), "{mixed}");
}

#[test]
fn it_needs_nothing_but_itself_and_no_text_is_more_than_text() {
    const EVIL: &str = "<script>alert('x')</script>&\"";
    let mut csv = scaling(&[1, 2, 4], "no").replacen(",abc123", &format!(",{EVIL}"), 1);
    csv = csv.replacen(",met,", &format!(",{EVIL},"), 2);
    csv = csv.replacen("p99_us", EVIL, 1).replacen("\n1,", &format!("\n{EVIL},"), 1);
    csv += &line(1, 7, 1, "no", [9.0, 0.0, 0.0]).replace("6.5", EVIL);
    let run = FakeRun::empty("<b>'&\"");
    run.write("scale.csv", &csv);
    let html = html_of(&[run.path()]).unwrap();
    for outside in ["<script", "<link", "<img", "src=", "href=", "url(", "@import", "://", "<b>'"] {
        assert!(!html.contains(outside), "{outside} in the report");
    }
    // A verdict, a column, a count of cores and a figure; the commit's line is the count's.
    assert!(html.matches("&lt;script&gt;").count() >= 4, "the texts are shown: {html}");
}

#[test]
fn what_is_not_whole_is_said() {
    let csv = scaling(&[1, 2, 4], "no");
    let text = text(&(csv.replacen("met,abc123", "tcp-mem,def", 1) + "4,1000,9,no,NaN"));
    assert!(
        text.contains("Not whole in scale.csv") && text.contains("line 20 is not whole"),
        "{text}"
    );
    assert!(text.contains("Several commits: abc123, def."), "{text}");
    assert!(text.contains("Runs that missed their target") && text.contains("tcp-mem"), "{text}");
    assert!(text.contains("met their target17"), "{text}");
}

#[test]
fn a_directory_of_no_scaling_run_is_an_error() {
    let error = |csv: &str| html_of(&[of(csv).path()]).unwrap_err().to_string();
    assert!(error("").contains("scale.csv: has no whole line; fix: "), "{}", error(""));
    assert!(error(HEAD).contains("has no whole run"), "{}", error(HEAD));
    let (scaled, run) = (of(&scaling(&[1], "no")), FakeRun::whole("first"));
    let error = html_of(&[run.path(), scaled.path()]).unwrap_err().to_string();
    assert!(error.contains("has a report of its own; fix: megaconn report "), "{error}");
}

#[test]
fn the_host_is_that_of_a_run_that_is_still_there() {
    let (scaled, run) = (of(&scaling(&[1], "no")), FakeRun::whole("first"));
    let inside = scaled.path().join("cores-1-connections-1000-repeat-2");
    std::fs::create_dir(&inside).unwrap();
    for file in ["result.json", "environment.json"] {
        std::fs::copy(run.path().join(file), inside.join(file)).unwrap();
    }
    let html = html_of(&[scaled.path()]).unwrap();
    assert!(html.contains("Environment, of one run") && html.contains("Linux 6.18.44 x86_64"));
}
