//! Values on the command line that are not just words.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::config;

/// An address where others can reach this machine; the agent's port unless one is given.
pub(super) fn listen(text: &str) -> Result<SocketAddr, String> {
    let addr = text.parse().or_else(|_| text.parse::<IpAddr>().map(|ip| (ip, config::AGENT_PORT).into()));
    let addr: SocketAddr =
        addr.map_err(|_| format!("`{text}` is no address such as 10.0.0.1 or 10.0.0.1:7749"))?;
    if addr.ip().is_unspecified() || addr.port() == 0 {
        return Err(format!("others cannot reach `{text}`; give one address of this machine and a port"));
    }
    Ok(addr)
}

/// A time with its unit; seconds without.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let parsed = number.parse::<u64>().ok().and_then(|number| match unit {
        "ms" => Some(Duration::from_millis(number)),
        "" | "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        "h" => number.checked_mul(3600).map(Duration::from_secs),
        "d" => number.checked_mul(86_400).map(Duration::from_secs),
        _ => None,
    });
    let parsed = parsed.filter(|&time| time > Duration::ZERO && time <= DURATION_MAX);
    parsed.ok_or_else(|| format!("`{text}` is no time such as 500ms, 30s, 2m or 1h, of at most a year"))
}

/// An amount of memory in bytes; K, M, G and T are powers of 1024.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let power = match unit {
        "" => Some(0),
        "K" => Some(1),
        "M" => Some(2),
        "G" => Some(3),
        "T" => Some(4),
        _ => None,
    };
    let parsed = power.and_then(|power| number.parse::<u64>().ok()?.checked_mul(1024_u64.pow(power)));
    parsed.ok_or_else(|| format!("`{text}` is no size such as 512M or 2G"))
}

const DURATION_MAX: Duration = Duration::from_secs(366 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, millis) in [("500ms", 500), ("3", 3000), ("3s", 3000), ("2m", 120_000), ("1h", 3_600_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "s", "1w", "-1s", "0", "99999999999999999999s", "1.5s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [("0", 0), ("10", 10), ("512M", 512 << 20), ("2G", 2 << 30), ("1T", 1 << 40)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "M", "2g", "1.5G", "-1", "2GB", "99999999999T"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_address_can_be_reached() {
        assert_eq!(listen("10.0.0.1"), Ok(([10, 0, 0, 1], 7749).into()));
        assert_eq!(listen("[::1]:9").map(|addr| addr.port()), Ok(9));
        for bad in ["", "alpha", "0.0.0.0", "10.0.0.1:0", "10.0.0.1:x"] {
            assert!(listen(bad).is_err(), "{bad}");
        }
    }
}
