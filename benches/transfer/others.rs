//! What else uploads files, doing as much of the same work as it can.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{Took, timed};
use crate::support::World;

/// Uploads all files of the watched folder; `None` where it is not installed.
type Other = fn(&World, usize) -> Option<Took>;

/// Both upload by S3, delete each file once it is stored, and look at nothing afterwards. They need no login, and write nothing down.
pub(crate) const BY_S3: [(&str, MoveByS3); 2] = [("s5cmd mv", s5cmd), ("rclone move", rclone)];

/// Moves all files of the watched folder to a server that speaks S3, at this address; over TLS with this certificate.
pub(crate) type MoveByS3 = fn(&World, &str, Option<&Path>) -> Option<Took>;

pub(crate) const ALL: [(&str, Other); 2] = [("curl, one connection", curl), ("the tutorial's way", tutorial)];

/// curl: one file after the other on one connection; logged in already, nothing is removed.
fn curl(world: &World, files: usize) -> Option<Took> {
    installed("curl")?;
    let took = timed(curl_all(world, files).stdout(Stdio::null()));
    assert_eq!(world.sandbox().uploads().len(), files);
    Some(took)
}

/// As the vendor's tutorial does it: for each file a login, all of it into memory, a POST, and the file is deleted.
const TUTORIAL: &str = r#"
import json, os, sys, urllib.parse, urllib.request
api, auth, client, user, password, folder, dest = sys.argv[1:]
for name in sorted(os.listdir(folder)):
    form = urllib.parse.urlencode(dict(grant_type="password", client_id=client, username=user, password=password)).encode()
    token = json.load(urllib.request.urlopen(auth, form))["access_token"]
    path = os.path.join(folder, name)
    with open(path, "rb") as file:
        content = file.read()
    url = f"{api}/api/v2.1/files/{dest}/children?name={urllib.parse.quote(name)}&isMajor=true"
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/octet-stream"}
    urllib.request.urlopen(urllib.request.Request(url, content, headers)).read()
    os.remove(path)
"#;

fn tutorial(world: &World, files: usize) -> Option<Took> {
    installed("python3")?;
    let access = world.sandbox().access().clone();
    let dest = folder_id(&access.api_url, &token(world));
    let auth = format!("{}/auth/realms/{}/protocol/openid-connect/token", access.auth_url, access.realm);
    let mut python = Command::new("python3");
    python.args(["-c", TUTORIAL, &access.api_url, &auth, &access.client_id, &access.username, &access.password]);
    python.arg(world.watched()).arg(dest);
    let took = timed(&mut python);
    assert_eq!((world.sandbox().uploads().len(), world.files_left().len()), (files, 0));
    Some(took)
}

fn s5cmd(world: &World, url: &str, ca_file: Option<&Path>) -> Option<Took> {
    installed("s5cmd")?;
    let mut s5cmd = Command::new("s5cmd");
    s5cmd.args(["--endpoint-url", url, "--log", "error", "mv"]).arg(world.watched().join("*")).arg("s3://b/");
    Some(timed(with_key(&mut s5cmd).envs(ca_file.map(|file| ("AWS_CA_BUNDLE", file)))))
}

fn rclone(world: &World, url: &str, ca_file: Option<&Path>) -> Option<Took> {
    installed("rclone")?;
    let mut rclone = Command::new("rclone");
    let remote = format!(":s3,provider=Other,env_auth=true,no_check_bucket=true,no_head=true,endpoint='{url}':b");
    rclone.args(["--config", "/dev/null", "--ignore-checksum", "move"]).arg(world.watched()).arg(remote);
    // As many at once as s5cmd may have; four by default.
    rclone.args(["--transfers", "256", "--checkers", "64"]);
    Some(timed(with_key(&mut rclone).envs(ca_file.map(|file| ("RCLONE_CA_CERT", file)))))
}

/// Any key does.
fn with_key(command: &mut Command) -> &mut Command {
    command.env("AWS_ACCESS_KEY_ID", "k").env("AWS_SECRET_ACCESS_KEY", "s").env("AWS_REGION", "us-east-1")
}

fn installed(program: &str) -> Option<()> {
    Command::new(program).arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status().ok().map(drop)
}

fn curl_all(world: &World, files: usize) -> Command {
    let (api, token) = (world.sandbox().access().api_url.clone(), token(world));
    let folder = folder_id(&api, &token);
    let mut config = String::new();
    for n in 0..files {
        let path = world.watched().join(format!("file-{n:06}"));
        let url = format!("{api}/api/v2.1/files/{folder}/children?name=curl-{n:06}&isMajor=true");
        writeln!(config, "url = \"{url}\"\nupload-file = \"{}\"\noutput = \"/dev/null\"", path.display()).unwrap();
        writeln!(config, "request = POST\nheader = \"Authorization: Bearer {token}\"\nheader = \"Expect:\"\nnext")
            .unwrap();
    }
    let place = world.dir.path().join("curl.conf");
    std::fs::write(&place, config.trim_end_matches("next\n")).unwrap();
    let mut command = Command::new("curl");
    command.arg("-sS").arg("--fail").arg("-K").arg(place);
    command
}

pub(crate) fn token(world: &World) -> String {
    let access = world.sandbox().access();
    let url = format!("{}/auth/realms/{}/protocol/openid-connect/token", access.auth_url, access.realm);
    let form = format!(
        "grant_type=password&client_id={}&username={}&password={}",
        access.client_id, access.username, access.password
    );
    let answer = Command::new("curl").args(["-sS", "--fail", "-d", &form, &url]).output().unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&answer.stdout).unwrap();
    answer["access_token"].as_str().unwrap().to_owned()
}

pub(crate) fn folder_id(api: &str, token: &str) -> String {
    let url = format!("{api}/api/v2.1/filesystem/HR_Backup?children=false");
    let bearer = format!("Authorization: Bearer {token}");
    let answer = Command::new("curl")
        .args(["-sS", "--fail", "-H", "Accept: application/json", "-H", &bearer, &url])
        .output()
        .unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&answer.stdout).unwrap();
    answer["ID"].as_str().unwrap().to_owned()
}
