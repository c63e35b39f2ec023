//! Latencies of one phase: the time of service, and from the intended start to the answer.

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::limits::LATENCY_NS_MAX;

const SIGNIFICANT_DIGITS: u8 = 3;

/// Records operations of one client; recorders of all clients are merged after the phase.
#[derive(Clone, Debug)]
pub struct Recorder {
    service: Histogram<u64>,
    response: Histogram<u64>,
}

impl Default for Recorder {
    fn default() -> Recorder {
        Recorder::new()
    }
}

impl Recorder {
    /// An empty recorder; it grows with the latencies it sees, up to the named maximum.
    #[must_use]
    pub fn new() -> Recorder {
        let empty = Histogram::new(SIGNIFICANT_DIGITS).expect("three digits are a valid precision");
        Recorder { service: empty.clone(), response: empty }
    }

    /// Records one operation: nanoseconds from its start, and from when it was meant to start.
    pub fn record(&mut self, service_ns: u64, response_ns: u64) {
        let pairs = [(&mut self.service, service_ns), (&mut self.response, response_ns)];
        for (histogram, ns) in pairs {
            // Not `saturating_record`: that one clips at the present size instead of growing.
            histogram.record(ns.min(LATENCY_NS_MAX)).expect("a resizing histogram takes any value");
        }
    }

    /// Adds another recorder's operations to this one's.
    pub fn merge(&mut self, other: &Recorder) {
        self.service.add(&other.service).expect("a resizing histogram takes any other's values");
        self.response.add(&other.response).expect("a resizing histogram takes any other's values");
    }

    /// Operations recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.service.len()
    }

    /// Latency from the start of the operation.
    #[must_use]
    pub fn service(&self) -> Latency {
        Latency::of(&self.service)
    }

    /// Latency from the moment at which the operation was meant to start.
    #[must_use]
    pub fn response(&self) -> Latency {
        Latency::of(&self.response)
    }
}

/// A distribution of latencies in microseconds.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Latency {
    pub mean_us: f64,
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub max_us: f64,
}

impl Latency {
    #[expect(clippy::cast_precision_loss, reason = "latencies are far below 2^53 ns")]
    fn of(histogram: &Histogram<u64>) -> Latency {
        let at = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1_000.0;
        Latency {
            mean_us: histogram.mean() / 1_000.0,
            p50_us: at(0.50),
            p90_us: at(0.90),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: histogram.max() as f64 / 1_000.0,
        }
    }
}
