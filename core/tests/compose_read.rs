//! Finding and reading Compose files on a disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use unmoor_core::compose::{Environment, LoadOptions, ReadRequest, read};
use unmoor_core::{Error, ErrorKind};
use unmoor_tools::Work;

/// A directory of its own, gone at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("unmoor-compose-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a fresh directory");
        Self(path.canonicalize().expect("an absolute path"))
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        fs::write(path, content).expect("a file");
        self
    }

    fn request(&self, inside: &str) -> ReadRequest {
        ReadRequest::new(self.0.join(inside), Environment::new())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const WEB: &str = "services: {web: {image: \"nginx:${TAG:-none}\"}}\n";

fn image(request: &ReadRequest) -> String {
    let loaded = read(request).expect("reads").load().expect("loads");
    let web = loaded.stack.services.values().next().expect("a service");
    web.image.familiar()
}

fn error(request: &ReadRequest) -> Error {
    read(request).expect_err("must be refused")
}

#[test]
fn files_are_found_upwards_with_override_and_variables() {
    let folder = Folder::new();
    folder
        .write("compose.yaml", WEB)
        .write("docker-compose.yml", "services: {}\n")
        .write("compose.override.yaml", "services: {web: {user: over}}\n")
        .write(".env", "TAG=from-file\n")
        .write("a/b/unrelated", "");
    let request = folder.request("a/b");
    assert_eq!(image(&request), "nginx:from-file");
    let input = read(&request).expect("reads");
    assert_eq!(
        input.options.project_directory.as_deref(),
        Some(folder.0.as_path())
    );
    assert_eq!(input.sources.len(), 2);
    let stack = input.load().expect("loads").stack;
    assert_eq!(
        stack.services.values().next().expect("web").user.as_deref(),
        Some("over")
    );
}

#[test]
fn the_environment_wins_over_env_files_and_chooses_files() {
    let folder = Folder::new();
    folder
        .write("other.yaml", WEB)
        .write(
            "more.yaml",
            "services: {web: {labels: [a=b]}, x: {image: x, profiles: [extra]}}\n",
        )
        .write(".env", "TAG=from-file\nCOMPOSE_PROFILES=extra\n")
        .write("my.env", "TAG=from-mine\n");
    let mut request = folder.request("");
    request.environment = Environment::new().variable("COMPOSE_FILE", "other.yaml:more.yaml");
    assert_eq!(image(&request), "nginx:from-file");
    let stack = read(&request).expect("reads").load().expect("loads").stack;
    assert_eq!(stack.services.len(), 2, "the profile of .env is active");
    request.env_files = vec![PathBuf::from("my.env")];
    assert_eq!(image(&request), "nginx:from-mine");
    request.environment = request.environment.variable("TAG", "from-outside");
    assert_eq!(image(&request), "nginx:from-outside");
    request.env_files.clear();
    request.environment = Environment::new()
        .variable("COMPOSE_FILE", "other.yaml")
        .variable("COMPOSE_DISABLE_ENV_FILE", "1");
    assert_eq!(image(&request), "nginx:none");
}

#[test]
fn named_files_set_the_directory_of_the_first() {
    let folder = Folder::new();
    folder
        .write(
            "deploy/base.yaml",
            "services: {web: {image: a, volumes: [\"./x:/x\"]}}\n",
        )
        .write("extra/more.yaml", "services: {web: {env_file: v.env}}\n")
        .write("deploy/v.env", "A=1\n");
    let request = folder
        .request("")
        .file("deploy/base.yaml")
        .file("extra/more.yaml");
    let loaded = read(&request).expect("reads").load().expect("loads");
    let web = loaded.stack.services.values().next().expect("web");
    assert_eq!(loaded.stack.name.as_str(), "deploy");
    assert_eq!(web.environment.get("A").map(String::as_str), Some("1"));
    let other = request.options(LoadOptions::default().project_directory("extra"));
    let failed = read(&other)
        .expect("reads")
        .load()
        .expect_err("no v.env there");
    assert!(failed.to_string().contains("there is no file"));
}

#[test]
fn a_project_directory_is_where_files_are_looked_for() {
    let folder = Folder::new();
    folder
        .write("compose.yaml", "services: {here: {image: x}}\n")
        .write(
            "p/compose.yaml",
            "services: {a: {image: \"x:${V:-none}\"}}\n",
        )
        .write("p/compose.override.yaml", "services: {a: {user: joe}}\n")
        .write("p/.env", "V=there\n")
        .write("p/sub/keep", "")
        .write(".env", "V=here\n");
    let of = |directory: &str| {
        let options = LoadOptions::default().project_directory(directory);
        let loaded = read(&folder.request("").options(options)).expect("reads");
        let loaded = loaded.load().expect("loads");
        let service = loaded.stack.services.into_values().next().expect("one");
        let name = loaded.stack.name.to_string();
        (name, service.image.familiar(), service.user)
    };
    let joe = || Some("joe".to_owned());
    assert_eq!(of("p"), ("p".to_owned(), "x:there".to_owned(), joe()));
    // A directory above it counts, and `.env` stands where the project is.
    assert_eq!(of("p/sub"), ("sub".to_owned(), "x:none".to_owned(), joe()));
    let named = folder.request("").file("compose.yaml");
    let named = named.options(LoadOptions::default().project_directory("p"));
    let loaded = read(&named).expect("reads").load().expect("loads");
    assert!(
        loaded
            .stack
            .services
            .keys()
            .any(|name| name.as_str() == "here")
    );
}

#[test]
fn what_is_not_a_text_file_is_refused_at_once() {
    let folder = Folder::new();
    let fifo = folder.0.join("fifo.yaml");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.expect("mkfifo runs").success());
    folder
        .write("utf16.yaml", [0xff, 0xfe, b'a', 0, 0])
        .write("latin.yaml", b"a: 1\nb: caf\xe9\n")
        .write("big.yaml", vec![b' '; (4 << 20) + 1])
        .write("bom.yaml", "\u{feff}services: {a: {image: x}}\r\n");
    let work = Work::new();
    let said = |name: &str| error(&folder.request("").file(name)).to_string();
    assert!(said("fifo.yaml").contains("not a regular file"));
    assert!(said("/dev/zero").contains("not a regular file"));
    assert!(said(".").contains("not a regular file"));
    assert!(said("utf16.yaml").contains("UTF-16"));
    assert!(said("latin.yaml").ends_with("latin.yaml:2:7: this is not UTF-8"));
    assert!(said("big.yaml").contains("larger than 4 MiB"));
    assert!(
        read(&folder.request("").file("bom.yaml"))
            .expect("reads")
            .load()
            .is_ok()
    );
    assert!(work.done() < Duration::from_secs(5));
}

/// A pipe that this text comes through, and the number of its descriptor.
#[cfg(target_os = "linux")]
fn pipe_with(text: impl Into<Vec<u8>>) -> (std::io::PipeReader, i32) {
    use std::io::Write as _;
    use std::os::fd::AsRawFd as _;
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let text = text.into();
    // Who does not read to the end ends the thread as well.
    std::thread::spawn(move || writer.write_all(&text));
    let number = reader.as_raw_fd();
    (reader, number)
}

#[cfg(target_os = "linux")]
#[test]
fn what_a_shell_opens_for_us_is_read_like_standard_input() {
    let folder = Folder::new();
    let at = |number: i32| {
        [
            format!("/dev/fd/{number}"),
            format!("/proc/self/fd/{number}"),
        ]
    };
    for way in 0..2 {
        let (_file, file) = pipe_with(WEB);
        let (_variables, variables) = pipe_with("TAG=piped\n");
        let mut request = folder.request("").file(&at(file)[way]);
        request.env_files = vec![PathBuf::from(&at(variables)[way])];
        let input = read(&request).expect("reads");
        let directory = input.options.project_directory.as_deref();
        assert_eq!(directory, Some(folder.0.as_path()), "paths start from here");
        let loaded = input.load().expect("loads");
        let web = loaded.stack.services.values().next().expect("a service");
        assert_eq!(web.image.familiar(), "nginx:piped");
    }
    let (_large, large) = pipe_with(vec![b' '; 64 << 20]);
    let told = error(&folder.request("").file(&at(large)[0])).to_string();
    assert!(told.contains("larger than 4 MiB"), "{told}");
    // A FIFO with a name is none of them, opened or not: who writes may never come.
    let fifo = folder.0.join("fifo.yaml");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.expect("mkfifo runs").success());
    let opened = fs::File::options().read(true).write(true).open(&fifo);
    let opened = opened.expect("both ends");
    let number = std::os::fd::AsRawFd::as_raw_fd(&opened);
    let fifo = fifo.display().to_string();
    for path in at(number).iter().chain([&fifo]) {
        let error = error(&folder.request("").file(path));
        assert!(error.to_string().contains("not a regular file"), "{error}");
        assert!(
            error
                .hint_text()
                .is_some_and(|hint| hint.contains("`-f -`"))
        );
    }
}

#[test]
fn an_empty_file_is_called_by_its_name() {
    let folder = Folder::new();
    folder.write("a.yaml", "").write("b.yaml", "# nothing\n");
    let told = |request: ReadRequest| {
        let failed = read(&request).expect("reads").load().expect_err("empty");
        failed.to_string()
    };
    let one = told(folder.request("").file("a.yaml"));
    assert!(one.contains("a.yaml is empty"), "{one}");
    let both = told(folder.request("").file("a.yaml").file("b.yaml"));
    assert!(both.contains("a.yaml and "), "{both}");
    assert!(both.contains("b.yaml are empty"), "{both}");
}

#[test]
fn nothing_to_read_is_not_found() {
    let folder = Folder::new();
    let missing = error(&folder.request("").file("gone.yaml"));
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    let above = Path::new("/");
    if ![
        "compose.yaml",
        "compose.yml",
        "docker-compose.yml",
        "docker-compose.yaml",
    ]
    .iter()
    .any(|name| above.join(name).exists() || std::env::temp_dir().join(name).exists())
    {
        assert_eq!(error(&folder.request("")).kind(), ErrorKind::NotFound);
    }
}

#[test]
fn settings_and_variables_stand_in_the_env_files_of_both_directories() {
    let folder = Folder::new();
    folder
        .write(
            "compose.yaml",
            "services: {a: {image: \"i:v${V}-${W}-${X}\"}}\n",
        )
        .write(
            "other.yaml",
            "services: {a: {image: \"other:v${V}-${W}-${X}\"}}\n",
        )
        .write(".env", "V=root\nW=root\nX=\n")
        .write("sub/.env", "V=sub\nX=sub\n");
    assert_eq!(image(&folder.request("sub")), "i:vsub-root-sub");
    let outside = folder.request("sub").file("../compose.yaml");
    assert_eq!(image(&outside), "i:vroot-root-", "its own directory counts");
    folder.write(
        "sub/.env",
        "COMPOSE_FILE=../other.yaml\nV=s\nCOMPOSE_ENV_FILES=none\n",
    );
    assert_eq!(image(&folder.request("sub")), "other:vs-root-");
    let mut named = folder.request("sub");
    named.env_files = vec![".env".into()];
    assert_eq!(image(&named), "other:vs--", "no other file of variables");
    folder.write("sub/.env", "COMPOSE_DISABLE_ENV_FILE=1\nX=sub\n");
    assert_eq!(
        image(&folder.request("sub")),
        "i:v--",
        "none of them counts"
    );
    folder.write(
        "sub/.env",
        "COMPOSE_FILE=a.yaml;b.yaml\nCOMPOSE_PATH_SEPARATOR=;\n",
    );
    folder.write("sub/a.yaml", "services: {a: {image: a}}\n");
    folder.write("sub/b.yaml", "services: {a: {image: b}}\n");
    assert_eq!(image(&folder.request("sub")), "b");
}

#[test]
fn a_variable_that_a_file_of_variables_misses_is_told_once_with_its_place() {
    let folder = Folder::new();
    folder
        .write(
            "compose.yaml",
            "services: {a: {image: \"x:$A\", env_file: v.env}}\n",
        )
        .write(".env", "=1\nA=\"t$GONE\"\nB='$QUOTED'\nC=${DEF:-x}\n")
        .write("v.env", "V=$LOST\nW=$A\n");
    let input = read(&folder.request("")).expect("reads");
    let loaded = input.load().expect("loads");
    let said: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    let at = |file: &str| folder.0.join(file).display().to_string();
    let wanted = [
        format!(
            "{}:2:1: the variable GONE is not set, an empty text stands in its place",
            at(".env")
        ),
        format!(
            "{}:1:1: the variable LOST is not set, an empty text stands in its place",
            at("v.env")
        ),
    ];
    assert_eq!(said.len(), 2, "{said:?}");
    for (said, wanted) in said.iter().zip(wanted) {
        assert!(wanted.ends_with(said.as_str()), "{said} is not {wanted}");
    }
    assert!(!input.environment.variables.contains_key(""));
}
