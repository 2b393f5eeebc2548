//! Any text as a server's metrics or dumps: reading it never panics, and what is read of it adds up.

#![no_main]

use libfuzzer_sys::fuzz_target;
use megaconn::observe::snapshot::Snapshot;

fuzz_target!(|text: &str| {
    let views =
        [Snapshot::server_from_metrics(text), Snapshot::server_from_dump_lines(text.lines())];
    for view in views.into_iter().flatten() {
        for (name, value) in &view.figures {
            let cores = view.cores.iter().map(|core| core.figures.get(name).copied());
            let sum = cores.sum::<Option<u64>>();
            assert!(name.starts_with("process_") || sum == Some(*value), "{name} is no sum");
        }
        assert!(view.cores.windows(2).all(|pair| pair[0].core < pair[1].core), "out of order");
    }
});
