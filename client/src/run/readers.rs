//! `--slow-readers` and `--silent-readers`: connections that read slowly, or not at all.

use std::str::FromStr;

use clap::Args;
use megaconn::base::units;
use megaconn::engine::client::config::Readers;

/// Connections that do not read as they should.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct ReadersFlags {
    /// Connections that read slowly: how many, and how fast
    ///
    /// As 1%:10KiB/s: about that part of the held connections, chosen by --seed, reads so many bytes a second from the first
    /// hold on. What they are sent is not verified and in no latency, and those that the server ends for it are not lost:
    /// `readers` of result.json has them. First the receive buffer of the client's kernel fills, 128 KiB as a rule,
    /// then the server feels it. At the end of the run they are reset.
    #[arg(long, value_name = "PERCENT:SIZE/s", hide_short_help = true)]
    pub(crate) slow_readers: Option<Slow>,
    /// Connections that never read
    ///
    /// As 1%: about that part of the held connections, as --slow-readers. They go on sending, as long as the server takes it.
    #[arg(long, value_name = "PERCENT", hide_short_help = true, value_parser = part)]
    pub(crate) silent_readers: Option<f64>,
}

/// A part of all, and bytes per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Slow(f64, f64);

impl FromStr for Slow {
    type Err = String;

    fn from_str(text: &str) -> Result<Slow, String> {
        let other = || format!("`{text}` is no part and pace; fix: write 1%:10KiB/s");
        let (percent, pace) = text.split_once(':').ok_or_else(other)?;
        let bytes = units::size(pace.strip_suffix("/s").ok_or_else(other)?).map_err(|_| other())?;
        if bytes == 0 {
            return Err(format!("`{text}` reads nothing; fix: --silent-readers {percent}"));
        }
        Ok(Slow(part(percent)?, bytes as f64))
    }
}

/// A part of all, in percent.
pub(crate) fn part(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').and_then(|number| number.parse::<f64>().ok());
    let percent = number.filter(|percent| *percent > 0.0 && *percent <= 100.0);
    let percent = percent.ok_or_else(|| format!("`{text}` is no part; fix: write 1% or 0.5%"))?;
    Ok(percent / 100.0)
}

impl ReadersFlags {
    /// Whether any do not read as they should.
    pub(crate) fn is_any(self) -> bool {
        self.slow_readers.is_some() || self.silent_readers.is_some()
    }

    /// Whether these are more than there are.
    pub(crate) fn is_more_than_all(self) -> bool {
        let Readers { silent, slow, .. } = self.told().unwrap_or_default();
        silent + slow > 1.0
    }

    /// What every core is told.
    pub(crate) fn told(self) -> Option<Readers> {
        let Slow(slow, bytes_per_s) = self.slow_readers.unwrap_or(Slow(0.0, 1.0));
        let silent = self.silent_readers.unwrap_or(0.0);
        self.is_any().then_some(Readers { silent, slow, bytes_per_s })
    }
}

/// `1% silent, 2% at 10240 B/s`.
pub(crate) fn in_words(readers: Readers) -> String {
    let Readers { silent, slow, bytes_per_s } = readers;
    let silently = (silent > 0.0).then(|| format!("{}% silent", 100.0 * silent));
    let slowly = (slow > 0.0).then(|| format!("{}% at {bytes_per_s} B/s", 100.0 * slow));
    silently.into_iter().chain(slowly).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_are_a_part_and_a_pace() {
        assert_eq!("1%:10KiB/s".parse(), Ok(Slow(0.01, 10_240.0)));
        assert_eq!(part("0.5%"), Ok(0.005));
        for bad in
            ["", "1%", "1:10KiB/s", "1%:10KiB", "0%:1KiB/s", "1%:0/s", "1%:x/s", "101%:1KiB/s"]
        {
            let error = bad.parse::<Slow>().expect_err(bad);
            assert_eq!(error.matches("fix: ").count(), 1, "{bad}: {error}");
        }
        for bad in ["", "1", "-1%", "0%", "NaN%", "100.1%", "%"] {
            assert!(part(bad).expect_err(bad).contains("fix: "), "{bad}");
        }
        let flags = ReadersFlags { slow_readers: Some(Slow(0.5, 9.0)), silent_readers: Some(0.51) };
        assert!(flags.is_more_than_all());
        assert_eq!(flags.told().map(in_words).as_deref(), Some("51% silent, 50% at 9 B/s"));
        assert_eq!(ReadersFlags::default().told(), None);
    }
}
