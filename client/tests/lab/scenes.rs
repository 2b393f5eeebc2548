//! The walls of the host and of the process: how each is met on purpose, and how the fix that the
//! verdict gives is followed.

use std::thread::sleep;
use std::time::Duration;

use rustix::process::Signal;

use super::host::{Cage, ControlGroup, HostWide, Scene, skipped, unchanged};
use super::netns::{Build, Lab, Run, Sight};
use crate::common::{Program, cores};

/// A wall and how to meet it.
pub(crate) struct Wall {
    pub(crate) id: &'static str,
    pub(crate) side: &'static str,
    /// Whether anything is lost to it.
    pub(crate) costs: bool,
    /// The run that meets it; or, given that run, the same after the fix that its verdict names.
    /// `None` where this host does not permit it.
    pub(crate) run: fn(Sight, Option<&Run>) -> Option<Run>,
}

const RESET: [&str; 4] = ["--hold", "100ms", "--close", "reset"];

/// The server's rings are as many as its connections ask for, and its locked memory is short of them.
pub(crate) const MEMLOCK: Wall = Wall {
    id: "memlock",
    side: "server",
    costs: true,
    run: |sight, met| {
        let kib = met.map_or(800, |met| last_number(met.fix("memlock", "ulimit -l ")));
        let _quiet = unchanged();
        // The kernel gives the rings of programs that have ended back a moment later.
        sleep(Duration::from_secs(1));
        let cage = Cage::open().limit('n', 256).limit('l', kib).without("ipc_lock");
        let scene = Scene::new(sight, &cage, &[])?;
        Some(scene.run(&Cage::open(), &[&["--connections", "5k"], &RESET[..]].concat()))
    },
};

/// Each ring of the server is a file, and it has few.
pub(crate) const NOFILE: Wall = Wall {
    id: "nofile",
    side: "server",
    costs: true,
    run: |sight, met| {
        let files = met.map_or(100, |met| last_number(met.fix("nofile", "ulimit -n ")));
        let _quiet = unchanged();
        let scene = Scene::new(sight, &Cage::open().limit('n', files), &["--cores", &cores(1)])?;
        Some(scene.run(&Cage::open(), &[&["--connections", "10k"], &RESET[..]].concat()))
    },
};

/// For a moment the host has no file left for a client that is no administrator.
pub(crate) const FILE_MAX: Wall = Wall {
    id: "file-max",
    side: "client",
    costs: true,
    run: |sight, met| {
        let mut host = HostWide::claim();
        let scene = Scene::new(sight, &Cage::open(), &[])?;
        let flags = ["--connections", "2k", "--rate", "2k/s"];
        let cage = Cage::open().without("sys_admin");
        let mut client = scene.client(&cage, &[&flags, &RESET[..]].concat());
        assert!(client.says("slots_per_segment="), "{:#?}", client.finish());
        sleep(Duration::from_millis(300));
        // What others have opened since, the fix did not know of.
        let value = met.map_or(64, |met| {
            last_number(met.fix("file-max", "sysctl -w fs.file-max=")) + open_files_of_host()
        });
        if !host.set("fs.file-max", &value.to_string()) {
            skipped("file-max, because fs.file-max cannot be set");
            return None;
        }
        sleep(Duration::from_millis(300));
        // It writes its report to files.
        drop(host);
        Some(scene.end(client))
    },
};

/// Pushes wait for a client that stands still for a moment, and TCP may have hardly any memory.
pub(crate) const TCP_MEM: Wall = Wall {
    id: "tcp-mem",
    side: "server",
    costs: true,
    run: |sight, met| {
        let mut host = HostWide::claim();
        // In a namespace the kernel does not show it, so that its own value is what lifts it.
        let shown = met.map(|met| {
            let fix = met.fix("tcp-mem", "");
            assert!(fix.contains("net.ipv4.tcp_mem"), "{fix}");
            fix
        });
        let value = match shown {
            None => Some("1 1 1"),
            Some(fix) => fix.split('\'').nth(1),
        };
        let text = "x".repeat(PUSH_BYTES);
        let scene = Scene::new(sight, &Cage::open(), &pushing(&text))?;
        if value.is_some_and(|value| !host.set("net.ipv4.tcp_mem", value)) {
            skipped("tcp-mem, because net.ipv4.tcp_mem cannot be set");
            return None;
        }
        let mut client = scene.client(&Cage::open(), &pushed(&text));
        stand_still(&mut client);
        Some(scene.end(client))
    },
};

/// The same, and the buffers of each socket are small.
pub(crate) const SOCKET_BUFFERS: Wall = Wall {
    id: "socket-buffers",
    side: "client",
    costs: true,
    run: |sight, met| {
        let mut lab = Lab::with(Build::Link, sight)?;
        let fix = |name: &str| {
            met.map(|met| met.fix("socket-buffers", &format!("sysctl -w {name}")).to_owned())
        };
        for (name, small) in
            [("net.ipv4.tcp_rmem", "2304 2304 2304"), ("net.ipv4.tcp_wmem", "4608 4608 4608")]
        {
            let line = fix(name).unwrap_or_else(|| format!("sysctl -w {name}='{small}'"));
            lab.client.run(&line);
            lab.server.run(&line);
        }
        let text = "x".repeat(PUSH_BYTES);
        lab.serve(&pushing(&text));
        let mut client = lab.seeing_client(&pushed(&text));
        stand_still(&mut client);
        Some(lab.end(client))
    },
};

const PUSH_BYTES: usize = 2000;

fn pushing(text: &str) -> [&str; 6] {
    ["--mode", "push", "--push-every", "200ms", "--push-text", text]
}

fn pushed(text: &str) -> Vec<&str> {
    let hold = ["--connections", "500", "--hold", "3500ms", "--close", "reset"];
    [&hold[..], &["--expect", "push", "--push-every", "200ms", "--push-text", text]].concat()
}

/// For so long that ten pushes wait, which a socket has room for where nothing is short.
fn stand_still(client: &mut Program) {
    assert!(client.says("holding"), "{:#?}", client.finish());
    sleep(Duration::from_millis(200));
    client.signal(Signal::STOP);
    sleep(Duration::from_millis(2000));
    client.signal(Signal::CONT);
}

/// The server leaves more memory to others than there is.
pub(crate) const MEMORY: Wall = Wall {
    id: "memory",
    side: "server",
    costs: true,
    run: |sight, met| {
        if let Some(met) = met {
            met.fix("memory", "--memory-reserve with less");
        }
        let _quiet = unchanged();
        let reserve = if met.is_some() { "64MiB" } else { "1024GiB" };
        let scene = Scene::new(sight, &Cage::open(), &["--memory-reserve", reserve])?;
        Some(scene.run(&Cage::open(), &[&["--connections", "500"], &RESET[..]].concat()))
    },
};

/// A container that leaves nobody anything is killed when it is full.
pub(crate) const CGROUP_MEMORY: Wall = Wall {
    id: "cgroup-memory",
    side: "server",
    costs: true,
    run: |sight, met| {
        let bytes = met.map_or(26 << 20, |met| {
            last_number(met.fix("cgroup-memory", "systemctl set-property UNIT MemoryMax="))
        });
        let _quiet = unchanged();
        let group = ControlGroup::memory(bytes)?;
        let reserve = ["--memory-reserve", "0"];
        let scene = Scene::new(sight, &Cage::open().group(&group), &reserve)?;
        Some(scene.run(&Cage::open(), &[&["--connections", "20k"], &RESET[..]].concat()))
    },
};

/// A container's room shrinks while a client opens: it stops, and holds what it has.
pub(crate) const CGROUP_RESERVE: Wall = Wall {
    id: "cgroup-memory",
    side: "client",
    costs: true,
    run: |sight, met| {
        let _quiet = unchanged();
        let group = ControlGroup::memory(512 << 20)?;
        let scene = Scene::new(sight, &Cage::open(), &[])?;
        let flags = ["--connections", "4k", "--rate", "4k/s"];
        let cage = Cage::open().group(&group);
        let mut client = scene.client(&cage, &[&flags, &RESET[..]].concat());
        assert!(client.says("slots_per_segment="), "{:#?}", client.finish());
        sleep(Duration::from_millis(300));
        let bytes = met.map_or(32 << 20, |met| {
            last_number(met.fix("cgroup-memory", "systemctl set-property UNIT MemoryMax="))
        });
        group.limit_memory(bytes);
        Some(scene.end(client))
    },
};

/// The client has a tenth of a CPU for more messages than that can send.
pub(crate) const CPU_QUOTA: Wall = Wall {
    id: "cpu-quota",
    side: "client",
    costs: true,
    run: |sight, met| {
        let _alone = HostWide::claim();
        let group = ControlGroup::cpu(10)?;
        // Out of the group it has more of it.
        let (cage, rate) = match met {
            None => (Cage::open().group(&group), MANY),
            Some(met) => {
                met.fix("cpu-quota", "systemctl set-property UNIT CPUQuota=");
                (Cage::open(), "1k/s")
            }
        };
        let scene = Scene::new(sight, &Cage::open(), &[])?;
        Some(scene.run(&cage, &messages(rate)))
    },
};

/// The server has a tenth of a CPU for more messages than that can answer.
pub(crate) const CPU: Wall = Wall {
    id: "cpu",
    side: "server",
    costs: true,
    run: |sight, met| {
        let _alone = HostWide::claim();
        let group = ControlGroup::cpu(10)?;
        let (cage, rate) = match met {
            None => (Cage::open().group(&group), MANY),
            // In a group with a quota more cores would do nothing. Out of it the server has more CPU time.
            Some(met) => {
                met.fix("cpu", "more machines, or fewer messages");
                (Cage::open(), "1k/s")
            }
        };
        let scene = Scene::new(sight, &cage, &[])?;
        Some(scene.run(&Cage::open(), &messages(rate)))
    },
};

const MANY: &str = "50k/s";

fn messages(rate: &str) -> [&str; 8] {
    ["--connections", "500", "--message-rate", rate, "--hold", "1500ms", "--close", "reset"]
}

/// The kernel takes in one packet a turn.
pub(crate) const SOFTIRQ_BUDGET: Wall = Wall {
    id: "softirq-budget",
    side: "server",
    costs: false,
    run: |sight, met| {
        let mut host = HostWide::claim();
        let fix = met.map(|met| met.fix("softirq-budget", "sysctl -w net.core.netdev_budget="));
        let value = fix.map_or("1".to_owned(), |fix| last_number(fix).to_string());
        if !host.set("net.core.netdev_budget", &value) {
            skipped("softirq-budget, because net.core.netdev_budget cannot be set");
            return None;
        }
        let scene = Scene::new(sight, &Cage::open(), &[])?;
        Some(scene.run(&Cage::open(), &[&["--connections", "500"], &RESET[..]].concat()))
    },
};

/// The server stands still for a while: that is no wall, and none may be named.
pub(crate) const STOPPED: Wall = Wall {
    id: "unknown",
    side: "between",
    costs: true,
    run: |sight, met| {
        let _alone = HostWide::claim();
        let scene = met.is_none().then(|| Scene::new(sight, &Cage::open(), &[]))??;
        let gate = ["--max-p99", "500ms"];
        let mut client = scene.client(&Cage::open(), &[&messages("1k/s")[..], &gate].concat());
        assert!(client.says("holding"), "{:#?}", client.finish());
        scene.server.signal(Signal::STOP);
        sleep(Duration::from_millis(1000));
        scene.server.signal(Signal::CONT);
        Some(scene.end(client))
    },
};

/// The server is killed, and not by the kernel. What was due afterwards is not the client's lag.
pub(crate) const KILLED: Wall = Wall {
    id: "server-gone",
    side: "server",
    costs: true,
    run: |sight, met| {
        let _quiet = unchanged();
        let scene = met.is_none().then(|| Scene::new(sight, &Cage::open(), &[]))??;
        let mut client = scene.client(&Cage::open(), &messages("1k/s"));
        assert!(client.says("holding"), "{:#?}", client.finish());
        scene.server.signal(Signal::KILL);
        Some(scene.end(client))
    },
};

fn open_files_of_host() -> u64 {
    let text = std::fs::read_to_string("/proc/sys/fs/file-nr").expect("/proc is there");
    text.split_whitespace().next().and_then(|used| used.parse().ok()).expect("it is a number")
}

fn last_number(text: &str) -> u64 {
    let digits = text.rsplit(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    digits.parse().unwrap_or_else(|_| panic!("{text:?} does not end in a number"))
}
