use super::*;
use crate::disk::testing::job;

fn gauge(mix: Mix, is_random: bool, end: ExpectedEnd) -> Arc<JobGauge> {
    let mut job = job("a", mix);
    job.pattern.is_random = is_random;
    Arc::new(JobGauge::new(&job, end))
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn status_line_is_like_fios() {
    let reader = gauge(Mix::Read, true, ExpectedEnd::Time(seconds(10)));
    let writer = gauge(Mix::Write, true, ExpectedEnd::Time(seconds(20)));
    let mut status = Status::new(vec![reader.clone(), writer.clone()]);
    let first = "Jobs: 0 (f=0): [P(2)][0.0%][r=0KiB/s,w=0KiB/s][r=0,w=0 IOPS][eta 00m:20s]";
    assert_eq!(status.line(Duration::ZERO), first);
    for gauge in [&reader, &writer] {
        gauge.set_state(JobState::Running);
        gauge.set_files(1);
    }
    status.line(seconds(1));
    reader.done(Direction::Read, 55_100, 55_100 * 4_096);
    assert_eq!(
        status.line(seconds(2)),
        "Jobs: 2 (f=2): [r(1),w(1)][7.5%][r=215MiB/s,w=0KiB/s][r=55.1k,w=0 IOPS][eta 00m:19s]"
    );
    writer.done(Direction::Write, 10, 20 << 20);
    reader.set_state(JobState::Finished);
    assert_eq!(
        status.line(seconds(4)),
        "Jobs: 1 (f=1): [_(1),w(1)][57.5%][r=0KiB/s,w=10.0MiB/s][r=0,w=5 IOPS][eta 00m:17s]"
    );
}

#[test]
fn status_eta_goes_by_bytes_or_by_time_whichever_is_sooner() {
    let gauge = gauge(Mix::Trim, false, ExpectedEnd::BytesOrTime(1_000, seconds(100)));
    let mut status = Status::new(vec![gauge.clone()]);
    gauge.set_state(JobState::Ramp);
    assert!(status.line(Duration::ZERO).contains("[/(1)]"));
    gauge.set_state(JobState::Running);
    gauge.done(Direction::Trim, 1, 500);
    let line = status.line(seconds(10));
    assert!(line.starts_with("Jobs: 1 (f=0): [D(1)][50.0%]"), "{line}");
    assert!(line.contains("[r=0,w=0,t=0 IOPS]"), "{line}");
    assert!(line.ends_with("[eta 00m:10s]"), "{line}");
    gauge.done(Direction::Trim, 1, 100);
    let line = status.line(seconds(90));
    assert!(line.contains("[90.0%]") && line.ends_with("[eta 00m:10s]"), "{line}");
}

#[test]
fn status_eta_is_open_as_long_as_nothing_was_done() {
    let gauge = gauge(Mix::ReadWrite, true, ExpectedEnd::Bytes(1_000));
    let mut status = Status::new(vec![gauge.clone()]);
    gauge.set_state(JobState::Running);
    assert!(status.line(seconds(1)).ends_with("[0.0%][r=0KiB/s,w=0KiB/s][r=0,w=0 IOPS][eta --]"));
    gauge.set_state(JobState::Verifying);
    assert!(status.line(seconds(2)).contains("[V(1)]"));
}

#[test]
fn status_clock_has_hours_and_days_where_there_are_any() {
    assert_eq!(clock(Duration::from_millis(4_100)), "00m:05s");
    assert_eq!(clock(seconds(3_661)), "01h:01m:01s");
    assert_eq!(clock(seconds(90_000)), "01d:01h:00m:00s");
}

#[test]
fn status_thread_takes_its_line_away_when_it_ends() {
    let gauge = gauge(Mix::Read, false, ExpectedEnd::Time(seconds(1)));
    let stop = AtomicBool::new(true);
    let mut out = Vec::new();
    show(Status::new(vec![gauge.clone()]), &stop, &mut out);
    assert_eq!(out, b"\r\r");
    let never = StatusLine::start(vec![gauge], Eta::Never);
    assert!(never.thread.is_none());
}
