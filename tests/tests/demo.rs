//! The demo shows what it says, fails when it has to, and never leaves anything behind.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail as tests do, by panicking"
)]

use rustix::process::{Pid, kill_process};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;
use twinwall_testbed::testing::{eventually, need};
use twinwall_testbed::{Signal, Testbed, host};

/// For the whole demo. It takes about 40 s.
const WHOLE: Duration = Duration::from_secs(300);

/// For whatever has to happen soon, on however busy a machine.
const SOON: Duration = Duration::from_secs(60);

/// Runs of the demo whose testbeds and report are in a folder of their own.
struct Demo {
    folder: tempfile::TempDir,
}

impl Demo {
    /// `None` if this machine can't have testbeds.
    fn new(test: &str) -> Option<Self> {
        drop(need(test, Testbed::builder().build())?);
        Some(Self { folder: tempfile::tempdir().unwrap() })
    }

    fn testbeds(&self) -> PathBuf {
        self.folder.path().join("testbeds")
    }

    fn start(&self, arguments: &[&str], binaries: Option<&Path>) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
        command.args(arguments).arg("--report").arg(self.folder.path().join("report.json"));
        command.env("TWINWALL_TESTBED_DIR", self.testbeds());
        if let Some(binaries) = binaries {
            command.env(host::BINARIES_VARIABLE, binaries);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    fn page(&self) -> String {
        fs::read_to_string(self.folder.path().join("report.html")).unwrap()
    }

    fn report(&self) -> Value {
        serde_json::from_slice(&fs::read(self.folder.path().join("report.json")).unwrap()).unwrap()
    }

    /// What is left of its testbeds: folders, and processes that know of them.
    fn left(&self) -> Vec<String> {
        let folders = fs::read_dir(self.testbeds()).map_or_else(
            |_| Vec::new(),
            |entries| entries.flatten().map(|entry| entry.path().display().to_string()).collect(),
        );
        let own = self.testbeds().display().to_string();
        let processes = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            line.contains(&own).then_some(line)
        });
        folders.into_iter().chain(processes).collect()
    }
}

/// Waits for the end, and takes all output.
fn finish(mut child: Child, within: Duration) -> Output {
    let stdout = child.stdout.take().map(drain);
    let stderr = child.stderr.take().map(drain);
    let Some(status) = eventually(within, || child.try_wait().unwrap()) else {
        child.kill().unwrap();
        panic!("the demo did not end within {within:?}");
    };
    let text = |thread: Option<std::thread::JoinHandle<Vec<u8>>>| {
        thread.map_or_else(Vec::new, |thread| thread.join().unwrap())
    };
    Output { status, stdout: text(stdout), stderr: text(stderr) }
}

fn drain(mut stream: impl Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        bytes
    })
}

/// Reads its output up to a line that begins like this.
fn read_to(child: &mut Child, beginning: &str) {
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.starts_with(beginning) {
        line.clear();
        assert_ne!(output.read_line(&mut line).unwrap(), 0, "no line `{beginning}`");
    }
    child.stdout = Some(output.into_inner());
}

fn send(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// The interfaces and named network namespaces of this machine.
fn machine() -> (usize, usize) {
    let interfaces = fs::read_to_string("/proc/net/dev").unwrap().lines().count();
    (interfaces, fs::read_dir("/run/netns").map_or(0, Iterator::count))
}

fn checks(report: &Value) -> Vec<&Value> {
    let chapters = report["chapters"].as_array().unwrap();
    chapters.iter().flat_map(|chapter| chapter["checks"].as_array().unwrap()).collect()
}

/// The whole demo runs alone: it measures, and its gateways have to be on time.
static ALONE: RwLock<()> = RwLock::new(());

#[test]
fn demo_holds_and_reports_what_it_saw() {
    let _alone = ALONE.write().unwrap_or_else(PoisonError::into_inner);
    let Some(demo) = Demo::new("demo") else { return };
    let before = machine();
    let output = finish(demo.start(&[], None), WHOLE);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert_eq!(demo.left(), Vec::<String>::new());
    assert_eq!(machine(), before);

    let report = demo.report();
    assert_eq!(report["held"], true);
    let names: Vec<_> =
        report["chapters"].as_array().unwrap().iter().map(|chapter| &chapter["name"]).collect();
    assert_eq!(names, ["appliance", "twinwall", "operator", "pair"]);
    let page = demo.page();
    for check in checks(&report) {
        assert_eq!(check["held"], true, "{check}");
        let name = check["name"].as_str().unwrap();
        // A long name goes on in the next line, below itself.
        let begins: String = name.chars().take(36).collect();
        assert!(text.contains(begins.trim_end()), "`{name}` is not in the table:\n{text}");
        assert!(page.contains(&check_row(check)), "{check} is not in the page:\n{page}");
    }
    let (appliance, twinwall) = (&report["chapters"][0], &report["chapters"][1]);
    for phase in ["renumbered", "swapped", "dropped"] {
        let wrong = |chapter: &Value| {
            let entries = chapter["figures"][phase].as_array().expect("the entries of a phase");
            entries.iter().map(|entry| entry["wrong"].as_u64().unwrap()).sum::<u64>()
        };
        assert!(wrong(appliance) > 100, "{phase}: {}", wrong(appliance));
        assert_eq!(wrong(twinwall), 0, "{phase}");
    }
    assert!(twinwall["figures"]["reloads"].as_array().unwrap().len() >= 9);
    // The third chapter shows what `twinwall` prints, which is as wide as it is.
    let (before, rest) = text.split_once("\n3. ").unwrap();
    let (_, after) = rest.split_once("\n4. ").unwrap();
    let own = before.lines().chain(after.lines());
    let longest = own.map(|line| line.chars().count()).max().unwrap();
    assert!(longest <= 80, "a line has {longest} columns");
    check_pair(&report["chapters"][3]);
    check_page(&page, &report["chapters"][3]);
}

/// A check as the page has it.
fn check_row(check: &Value) -> String {
    let text = |key: &str| check[key].as_str().unwrap().replace('\'', "&#39;");
    format!(
        "<th scope=\"row\">{}</th>\n<td class=\"number\">{}</td>\n<td class=\"number\">{}</td>\n",
        text("name"),
        text("expected"),
        text("seen")
    )
}

/// What the pair's chapter has kept fits together.
fn check_pair(pair: &Value) {
    let sessions = &pair["figures"]["sessions"];
    assert_eq!(sessions["whole"], 100, "{sessions}");
    assert_eq!((&sessions["reset"], &sessions["corrupt"]), (&0.into(), &0.into()), "{sessions}");
    assert_eq!(sessions["sent"], sessions["received"]);
    let timeline = &pair["timeline"];
    let length = timeline["length_ms"].as_f64().unwrap();
    let bytes = |direction: &Value| -> u64 {
        direction["bytes"].as_array().unwrap().iter().map(|slot| slot.as_u64().unwrap()).sum()
    };
    let directions = timeline["directions"].as_array().unwrap();
    assert!(directions.iter().all(|direction| bytes(direction) > 100_000), "nothing came");
    // What came before its beginning and after its end is not in the time line.
    let all: u64 = directions.iter().map(bytes).sum();
    assert!(all <= sessions["received"].as_u64().unwrap());
    let marks = timeline["marks"].as_array().unwrap();
    let names: Vec<_> = marks.iter().map(|mark| mark["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["reload", "death", "return", "fail-back", "handover", "back"]);
    let times: Vec<_> = marks.iter().map(|mark| mark["at_ms"].as_f64().unwrap()).collect();
    assert!(
        times.is_sorted() && times.iter().all(|time| (0.0..length).contains(time)),
        "{times:?}"
    );
    assert!(marks.iter().all(|mark| mark["alive"] == 100));
    for node in timeline["nodes"].as_array().unwrap() {
        let spans = node["spans"].as_array().unwrap();
        let end = |span: &Value, key: &str| span[key].as_f64().unwrap();
        assert!(spans.windows(2).all(|two| end(&two[0], "until_ms") == end(&two[1], "from_ms")));
        assert_eq!(end(spans.last().unwrap(), "until_ms"), length);
        let was = |state: &str| spans.iter().any(|span| span["state"] == state);
        assert!(was("active") && was("backup"), "{node}");
        let counts = node["sessions"].as_array().unwrap();
        assert_eq!(counts.last().unwrap()[1], 100, "{node}");
    }
}

/// The page has its parts, and needs nothing but itself.
fn check_page(page: &str, pair: &Value) {
    for part in
        ["<title>", "<main>", "id=\"pair\"", "class=\"wide\"", "aria-labelledby=\"timeline-"]
    {
        assert!(page.contains(part), "no {part}:\n{page}");
    }
    for class in ["out", "in", "active", "backup", "silent", "count", "badge"] {
        assert!(page.contains(&format!("class=\"{class}\"")), "nothing of class {class}:\n{page}");
    }
    for mark in pair["timeline"]["marks"].as_array().unwrap() {
        let label = mark["label"].as_str().unwrap();
        assert!(page.contains(&format!(">{label}</text>")), "no label {label}:\n{page}");
    }
    for from_elsewhere in ["<script", "<link", "<img", "src=", "://", "@import", "NaN"] {
        assert!(!page.contains(from_elsewhere), "{from_elsewhere}:\n{page}");
    }
}

#[test]
fn demo_leaves_nothing_behind_when_it_is_interrupted() {
    let _others = ALONE.read().unwrap_or_else(PoisonError::into_inner);
    let Some(demo) = Demo::new("demo") else { return };
    let places =
        [("appliance", "[renumbered]"), ("twinwall", "[renumbered]"), ("pair", "[reload]")];
    for (chapter, step) in places {
        let mut child = demo.start(&["--chapter", chapter], None);
        read_to(&mut child, step);
        send(&child, Signal::INT);
        let output = finish(child, SOON);
        assert_eq!(demo.left(), Vec::<String>::new());
        assert_eq!(output.status.code(), Some(130));
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("The demo was interrupted."), "{text}");
        let report = demo.report();
        assert_eq!((&report["held"], &report["interrupted"]), (&false.into(), &true.into()));
        assert!(demo.page().contains("It was interrupted."));
    }
}

#[test]
fn demo_leaves_nothing_behind_when_it_is_killed() {
    let _others = ALONE.read().unwrap_or_else(PoisonError::into_inner);
    let Some(demo) = Demo::new("demo") else { return };
    for (chapter, step) in [("twinwall", "[renumbered]"), ("pair", "[death]")] {
        let mut child = demo.start(&["--chapter", chapter], None);
        read_to(&mut child, step);
        child.kill().unwrap();
        child.wait().unwrap();
        eventually(SOON, || demo.left().is_empty().then_some(())).unwrap();
    }
}

/// A folder with some of the built programs, and a script in place of `twinwall` if there is one.
fn programs(built: &[&str], twinwall: Option<&str>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for program in built {
        let original = host::binary(&host::binaries().unwrap(), program).unwrap();
        symlink(original, folder.path().join(program)).unwrap();
    }
    if let Some(script) = twinwall {
        let path = folder.path().join("twinwall");
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    folder
}

#[test]
fn demo_fails_when_sessions_do_not_follow_the_policy() {
    let _others = ALONE.read().unwrap_or_else(PoisonError::into_inner);
    let Some(demo) = Demo::new("demo") else { return };
    // Whatever is to be applied, the first policy stays.
    let real = host::binary(&host::binaries().unwrap(), "twinwall").unwrap();
    let script = format!(
        "#!/bin/sh\nfor a; do shift\ncase $a in *.yaml) a=$(dirname \"$a\")/policy.yaml;; esac\n\
         set -- \"$@\" \"$a\"; done\nexec {} \"$@\"\n",
        real.display()
    );
    let programs = programs(&["testbed", "traffic", "twinwalld"], Some(&script));
    let output = finish(demo.start(&["--chapter", "twinwall"], Some(programs.path())), WHOLE);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(demo.left(), Vec::<String>::new());
    let report = demo.report();
    assert_eq!(report["held"], false);
    assert_eq!(report["chapters"][0]["error"], Value::Null);
    let failed: Vec<&str> = checks(&report)
        .into_iter()
        .filter(|check| check["held"] == false)
        .map(|check| check["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        failed,
        [
            "renumbered: numbers of stream and client-all",
            "swapped: packets on a wrong rule",
            "dropped: packets on a wrong rule",
            "dropped: packets passed to the client",
            "dropped: packets passed to the server",
            "dropped: the client's last word in the stream",
        ]
    );
}

#[test]
fn demo_fails_when_a_step_cannot_be_done() {
    let _others = ALONE.read().unwrap_or_else(PoisonError::into_inner);
    let Some(demo) = Demo::new("demo") else { return };
    let script = "#!/bin/sh\necho the control socket is on fire >&2\nexit 1\n";
    let programs = programs(&["testbed", "traffic", "twinwalld"], Some(script));
    let output = finish(demo.start(&["--chapter", "operator"], Some(programs.path())), WHOLE);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(demo.left(), Vec::<String>::new());
    let report = demo.report();
    assert_eq!(report["held"], false);
    let error = report["chapters"][0]["error"].as_str().unwrap();
    assert!(error.contains("the control socket is on fire"), "{error}");
}

#[test]
fn demo_names_what_is_missing() {
    let _others = ALONE.read().unwrap_or_else(PoisonError::into_inner);
    let Some(demo) = Demo::new("demo") else { return };
    let programs = programs(&["testbed", "traffic"], None);
    let output = finish(demo.start(&["--chapter", "twinwall"], Some(programs.path())), WHOLE);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(demo.left(), Vec::<String>::new());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("twinwalld is not in"), "{text}");
}

#[test]
fn demo_says_when_its_report_cannot_be_written() {
    let command = Command::new(env!("CARGO_BIN_EXE_demo"))
        .args(["--report", "/proc/nowhere/report.json"])
        .output()
        .unwrap();
    assert_eq!(command.status.code(), Some(1));
    assert_eq!(command.stdout, b"");
    let said = String::from_utf8(command.stderr).unwrap();
    assert!(said.contains("cannot write /proc/nowhere/report.json"), "{said}");
}
