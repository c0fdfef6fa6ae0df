use std::io::Write;
use std::path::Path;

use super::*;

fn request(path: &Path) -> LogRequest {
    LogRequest {
        path: path.to_owned(),
        stdout: true,
        stderr: true,
        since: None,
        until: None,
        tail: None,
        timestamps: false,
        details: false,
        multiplexed: false,
    }
}

fn line(number: u32) -> String {
    let stream = if number.is_multiple_of(2) { "stdout" } else { "stderr" };
    format!(
        "{{\"log\":\"line {number}\\n\",\"stream\":\"{stream}\",\"time\":\"2026-01-01T00:{:02}:{:02}.5Z\"}}\n",
        number / 60,
        number % 60
    )
}

fn write_lines(path: &Path, numbers: std::ops::Range<u32>) {
    std::fs::write(path, numbers.map(line).collect::<String>()).unwrap();
}

async fn read_all(mut receiver: mpsc::Receiver<Result<Bytes>>) -> String {
    let mut all = Vec::new();
    while let Some(chunk) = receiver.recv().await {
        all.extend_from_slice(&chunk.unwrap());
    }
    String::from_utf8(all).unwrap()
}

fn expected(numbers: impl Iterator<Item = u32>) -> String {
    numbers.map(|number| format!("line {number}\n")).collect()
}

#[tokio::test]
async fn reads_rotated_files_oldest_first_and_tail_reaches_into_them() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c-json.log");
    write_lines(&directory.path().join("c-json.log.1"), 10..20);
    let compressed = std::fs::File::create(directory.path().join("c-json.log.2.gz")).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(compressed, flate2::Compression::fast());
    gzip.write_all((0..10).map(line).collect::<String>().as_bytes()).unwrap();
    gzip.finish().unwrap();
    write_lines(&path, 20..25);

    assert_eq!(read_all(stream(request(&path), None)).await, expected(0..25));
    for tail in [0, 1, 5, 6, 15, 16, 25, 40] {
        let request = LogRequest { tail: Some(tail), ..request(&path) };
        let first = 25_u32.saturating_sub(u32::try_from(tail).unwrap());
        assert_eq!(read_all(stream(request, None)).await, expected(first..25), "tail {tail}");
    }
}

#[tokio::test]
async fn since_and_until_select_by_time_in_a_large_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c-json.log");
    write_lines(&path, 0..3600);
    let at = |text: &str| {
        let time: jiff::Timestamp = text.parse().unwrap();
        Some(i64::try_from(time.as_nanosecond()).unwrap())
    };
    let request = LogRequest {
        since: at("2026-01-01T00:50:00Z"),
        until: at("2026-01-01T00:50:02.5Z"),
        ..request(&path)
    };
    assert_eq!(read_all(stream(request, None)).await, expected(3000..3003));
}

#[tokio::test]
async fn frames_streams_times_and_details_as_docker_does() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c-json.log");
    let record = r#"{"log":"a<b\n","stream":"stderr","time":"2026-01-01T00:00:00.25Z","attrs":{"b":"x y","a":"1"}}"#;
    std::fs::write(&path, format!("{record}\nnot json\n")).unwrap();
    let request =
        LogRequest { timestamps: true, details: true, multiplexed: true, ..request(&path) };
    let text = read_all(stream(request, None)).await;
    let payload = "2026-01-01T00:00:00.250000000Z a=1,b=x+y a<b\n";
    assert_eq!(text, format!("\u{2}\0\0\0\0\0\0{}{payload}", char::from(payload.len() as u8)));
}

#[tokio::test]
async fn only_wanted_streams_are_sent() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c-json.log");
    write_lines(&path, 0..6);
    let request = LogRequest { stdout: false, ..request(&path) };
    assert_eq!(read_all(stream(request, None)).await, expected([1, 3, 5].into_iter()));
}

#[tokio::test]
async fn follow_sees_torn_writes_rotation_and_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c-json.log");
    write_lines(&path, 0..2);
    let (ended, receiver) = watch::channel(false);
    let reading = tokio::spawn(read_all(stream(request(&path), Some(receiver))));
    let pause = || tokio::time::sleep(std::time::Duration::from_millis(30));

    pause().await;
    let mut file = std::fs::File::options().append(true).open(&path).unwrap();
    let (head, rest) = (line(2), line(2));
    file.write_all(&head.as_bytes()[..9]).unwrap();
    pause().await;
    file.write_all(&rest.as_bytes()[9..]).unwrap();
    std::fs::rename(&path, directory.path().join("c-json.log.1")).unwrap();
    write_lines(&path, 3..5);
    pause().await;
    let mut file = std::fs::File::options().append(true).open(&path).unwrap();
    file.write_all(line(5).as_bytes()).unwrap();
    ended.send(true).unwrap();

    assert_eq!(reading.await.unwrap(), expected(0..6));
}

#[tokio::test]
async fn a_log_without_a_file_is_empty() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(read_all(stream(request(&directory.path().join("none")), None)).await, "");
}
