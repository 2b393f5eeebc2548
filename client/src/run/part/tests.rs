//! Parts as they are typed, and as schedulers say them.

use clap::Parser;

use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    flags: PartFlags,
}

const NOW: Duration = Duration::from_secs(1_796_072_400);

/// What a line of flags means with an environment of `NAME=value`.
fn read(line: &str, environment: &str) -> Result<PartTyped, String> {
    let words = ["run"].into_iter().chain(line.split_whitespace());
    let flags = Line::try_parse_from(words).map_err(|error| error.to_string())?.flags;
    let variable = |name: &str| {
        let pairs = environment.split_whitespace().filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_owned())
    };
    flags.read(variable, NOW)
}

fn part(line: &str, environment: &str) -> Option<String> {
    let typed = read(&format!("--run-id a {line}"), environment);
    typed
        .unwrap_or_else(|why| panic!("{line} {environment}: {why}"))
        .part
        .map(|part| part.to_string())
}

fn refusal(line: &str, environment: &str) -> String {
    let why = read(line, environment).err();
    let why = why.unwrap_or_else(|| panic!("{line} {environment} is taken"));
    assert!(why.contains("fix: "), "{line} {environment}: {why}");
    why
}

#[test]
fn a_scheduler_says_which_part_this_is() {
    for (line, environment, expected) in [
        ("--part 2/3", "SLURM_PROCID=9", "2/3"),
        ("--part auto/10", "JOB_COMPLETION_INDEX=0", "1/10"),
        ("--part auto", "JOB_COMPLETION_INDEX=9 MEGACONN_PARTS=10", "10/10"),
        ("--part auto", "JOB_COMPLETION_INDEX=9 JOB_COMPLETIONS=10", "10/10"),
        ("--part auto", "SLURM_PROCID=3 SLURM_NTASKS=4", "4/4"),
        ("--part auto/4", "SLURM_PROCID=3 SLURM_NTASKS=4", "4/4"),
        ("--part auto", "OMPI_COMM_WORLD_RANK=0 OMPI_COMM_WORLD_SIZE=1", "1/1"),
        ("--part auto", "PMI_RANK=1 PMI_SIZE=2", "2/2"),
        // mpirun within a job of Slurm: both say the same.
        ("--part auto", "SLURM_PROCID=1 SLURM_NTASKS=2 PMI_RANK=1 PMI_SIZE=2", "2/2"),
        // A size without a rank of the same scheduler is not asked.
        ("--part auto", "PMI_RANK=1 PMI_SIZE=2 SLURM_NTASKS=7", "2/2"),
    ] {
        assert_eq!(part(line, environment).as_deref(), Some(expected), "{line} {environment}");
    }
    assert_eq!(part("", "SLURM_PROCID=1 SLURM_NTASKS=2"), None, "it was not asked for");
}

#[test]
fn what_a_scheduler_does_not_say_is_refused() {
    for (line, environment, said) in [
        ("--part auto", "", "no scheduler"),
        ("--part auto", "MEGACONN_PARTS=3", "no scheduler"),
        ("--part auto", "JOB_COMPLETION_INDEX=1", "of how many"),
        ("--part auto", "JOB_COMPLETION_INDEX=x MEGACONN_PARTS=3", "is no number"),
        ("--part auto", "JOB_COMPLETION_INDEX=3 MEGACONN_PARTS=3", "no such part"),
        ("--part auto/3", "JOB_COMPLETION_INDEX=1 MEGACONN_PARTS=4", "contradict"),
        ("--part auto", "SLURM_PROCID=1 SLURM_NTASKS=2 PMI_RANK=0 PMI_SIZE=2", "contradict"),
        ("--part auto", "SLURM_PROCID=1 SLURM_NTASKS=2 PMI_RANK=1 PMI_SIZE=4", "contradict"),
        (
            "--part auto",
            "JOB_COMPLETION_INDEX=18446744073709551615 MEGACONN_PARTS=3",
            "no such part",
        ),
        ("--part auto", "JOB_COMPLETION_INDEX=0 MEGACONN_PARTS=0", "parts"),
    ] {
        let why = refusal(&format!("--run-id a {line}"), environment);
        assert!(why.contains(said) && why.contains("--part auto"), "{line} {environment}: {why}");
    }
}

#[test]
fn a_part_belongs_to_a_run_that_has_a_name() {
    assert!(refusal("--part 1/2", "SLURM_JOB_ID=7").contains("--run-id"));
    let slurm = "SLURM_PROCID=0 SLURM_NTASKS=2 SLURM_JOB_ID=7";
    assert_eq!(read("--part auto", slurm).map(|typed| typed.run_id), Ok(Some("7".to_owned())));
    let named = read("--part auto --run-id mine", slurm).map(|typed| typed.run_id);
    assert_eq!(named, Ok(Some("mine".to_owned())));
    assert_eq!(
        read("--run-id mine", "").map(|typed| typed.part),
        Ok(None),
        "a whole run may have one"
    );
    let long = "x".repeat(200);
    for bad in ["a\"b", "a\\b", &long] {
        assert!(read(&format!("--run-id {bad}"), "").is_err(), "{bad}");
    }
}

#[test]
fn flags_that_mean_nothing_are_refused() {
    assert!(refusal("--part-sources own", "").contains("--part-sources"));
    assert!(refusal("--open-time 3s", "").contains("--open-time"));
    let late = refusal("--start-at 2026-11-30T20:59:50Z", "");
    assert!(late.contains("10.0 s ago"), "{late}");
    let start = |line: &str| read(line, "").map(|typed| typed.start);
    assert_eq!(start("--start-at 2026-11-30T21:00:01Z"), Ok(Some(NOW + Duration::from_secs(1))));
    assert_eq!(start("--start-at 1796072400"), Ok(Some(NOW)));
    assert_eq!(start("--start-at +90s"), Ok(Some(NOW + Duration::from_secs(90))));
    for bad in [
        "--part 0/2",
        "--part 3/2",
        "--part 1",
        "--part auto/0",
        "--part autos",
        "--start-at +",
        "--start-at soon",
    ] {
        let why = read(bad, "").expect_err(bad);
        assert!(why.contains("fix: "), "{bad}: {why}");
    }
}

#[test]
fn parts_on_one_host_share_its_addresses() {
    let sharing = |line: &str, environment: &str| {
        read(&format!("--run-id a {line}"), environment).map(|typed| typed.sharing)
    };
    let slurm = "SLURM_PROCID=0 SLURM_NTASKS=6";
    for (line, environment, expected) in [
        ("--part 1/6", "SLURM_TASKS_PER_NODE=2(x3)", SourceSharing::Auto),
        ("--part auto", "SLURM_TASKS_PER_NODE=2(x3)", SourceSharing::Shared),
        ("--part auto", "SLURM_TASKS_PER_NODE=1(x6)", SourceSharing::Auto),
        ("--part auto", "SLURM_TASKS_PER_NODE=2,1(x4)", SourceSharing::Shared),
        ("--part auto", "OMPI_COMM_WORLD_LOCAL_SIZE=6", SourceSharing::Shared),
        ("--part auto", "MPI_LOCALNRANKS=x", SourceSharing::Auto),
        ("--part auto --part-sources own", "SLURM_TASKS_PER_NODE=2(x3)", SourceSharing::Own),
        ("--part 1/6 --part-sources shared", "", SourceSharing::Shared),
    ] {
        assert_eq!(
            sharing(line, &format!("{slurm} {environment}")),
            Ok(expected),
            "{line} {environment}"
        );
    }
}
