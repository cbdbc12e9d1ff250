//! Headless Chromium, driven over its DevTools protocol as a person would drive it: with mouse and keys.
use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use support::{processes::program, relay::PATIENCE};

/// Descriptors 3 and 4 are the pipe of the protocol.
const SCRIPT: &str = r#"exec "$@" 3<&0 4>&1 >/dev/null 2>&1"#;

/// A tab of a browser of its own.
pub struct Tab {
    child: Child,
    requests: ChildStdin,
    messages: Receiver<Value>,
    session: Option<String>,
    last_id: u64,
    /// Messages that no request has asked for.
    events: VecDeque<Value>,
}

impl Drop for Tab {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

impl Tab {
    /// Opens a URL, and returns once the page has loaded.
    pub fn open(profile: &Path, url: &str) -> Self {
        let mut command = Command::new(program("sh"));
        command
            .args(["-c", SCRIPT, "sh"])
            .arg(program("chromium-headless-shell"));
        command
            // As root, in a container.
            .args([
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-proxy-server",
            ])
            .args(["--remote-debugging-pipe", "--lang=en-GB"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .env("TZ", "UTC")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0);
        let mut child = command.spawn().expect("a browser");
        let requests = child.stdin.take().expect("a pipe");
        let answers = BufReader::new(child.stdout.take().expect("a pipe"));
        let (sender, messages) = channel();
        thread::spawn(move || {
            for message in answers.split(0).map_while(Result::ok) {
                let message = serde_json::from_slice(&message).expect("JSON");
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let mut tab = Tab {
            child,
            requests,
            messages,
            session: None,
            last_id: 0,
            events: VecDeque::new(),
        };
        let target = tab.ask("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = tab.ask("Target.attachToTarget", attach);
        tab.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Accessibility"] {
            tab.ask(&format!("{domain}.enable"), json!({}));
        }
        tab.navigate("Page.navigate", json!({ "url": url }));
        tab
    }

    /// Sends a request that loads a page, and returns once it has loaded.
    pub fn navigate(&mut self, method: &str, parameters: Value) {
        self.events.clear();
        self.ask(method, parameters);
        while self.event()["method"] != "Page.loadEventFired" {}
    }

    fn event(&mut self) -> Value {
        self.events.pop_front().unwrap_or_else(|| self.receive())
    }

    fn receive(&self) -> Value {
        let message = self.messages.recv_timeout(PATIENCE).expect("a message of the browser");
        // An exception that no handler of the page has caught.
        assert!(message["method"] != "Runtime.exceptionThrown", "{message}");
        message
    }

    /// Sends a request of the protocol, and returns its result.
    pub fn ask(&mut self, method: &str, parameters: Value) -> Value {
        self.last_id += 1;
        let mut request = json!({"id": self.last_id, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            request["sessionId"] = json!(session);
        }
        let request = format!("{request}\0");
        self.requests.write_all(request.as_bytes()).expect("a browser");
        loop {
            let mut message = self.receive();
            if message["id"] == self.last_id {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].take();
            }
            self.events.push_back(message);
        }
    }

    /// Returns the value of an expression, after its promise is settled.
    pub fn value(&mut self, expression: &str) -> Value {
        let parameters = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let mut answer = self.ask("Runtime.evaluate", parameters);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].take()
    }

    /// Waits until a condition holds, frame by frame.
    pub fn until(&mut self, condition: &str) {
        let wait = format!(
            "new Promise((done) => {{ const look = () => ({condition}) ? done(true) : requestAnimationFrame(look); look(); }})"
        );
        assert_eq!(self.value(&wait), true, "{condition}");
    }

    /// Clicks the middle of the first element that a selector selects.
    pub fn click(&mut self, selector: &str) {
        let place = format!(
            "(() => {{ const element = document.querySelector({selector:?}); element.scrollIntoView({{ block: 'center' }});
            const box = element.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; }})()"
        );
        let place = self.value(&place);
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({"type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": 1});
            self.ask("Input.dispatchMouseEvent", event);
        }
    }

    /// Presses and releases keys, one after the other.
    pub fn press(&mut self, keys: &[&str]) {
        for key in keys {
            let (code, text) = match *key {
                "Enter" => (13, Some("\r")),
                "Tab" => (9, None),
                "Escape" => (27, None),
                "End" => (35, None),
                "Home" => (36, None),
                "ArrowUp" => (38, None),
                "ArrowDown" => (40, None),
                _ => panic!("the key {key} is unknown"),
            };
            let mut event = json!({"type": "keyDown", "key": key, "code": key, "windowsVirtualKeyCode": code});
            if let Some(text) = text {
                event["text"] = json!(text);
            }
            self.ask("Input.dispatchKeyEvent", event.clone());
            event["type"] = json!("keyUp");
            event.as_object_mut().expect("an object").remove("text");
            self.ask("Input.dispatchKeyEvent", event);
        }
    }

    /// Clicks a field, replaces its text, and presses Enter.
    pub fn fill(&mut self, selector: &str, text: &str) {
        self.click(selector);
        self.value("document.activeElement.select()");
        if text.is_empty() {
            let delete =
                json!({"type": "keyDown", "key": "Backspace", "code": "Backspace", "windowsVirtualKeyCode": 8});
            self.ask("Input.dispatchKeyEvent", delete);
        } else {
            self.ask("Input.insertText", json!({ "text": text }));
        }
        self.press(&["Enter"]);
    }

    /// Sets the width of the window, and whether the system's colours are dark.
    pub fn emulate(&mut self, width: u32, is_dark: bool) {
        let size = json!({"width": width, "height": 720, "deviceScaleFactor": 1, "mobile": width < 500});
        self.ask("Emulation.setDeviceMetricsOverride", size);
        let scheme = if is_dark { "dark" } else { "light" };
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.ask("Emulation.setEmulatedMedia", features);
    }

    /// Returns the window as PNG.
    pub fn screenshot(&mut self) -> Vec<u8> {
        let answer = self.ask("Page.captureScreenshot", json!({"format": "png"}));
        let data = answer["data"].as_str().expect("an image");
        BASE64_STANDARD.decode(data).expect("base64")
    }

    /// Returns roles and names, as a screen reader finds them.
    pub fn roles(&mut self) -> Vec<(String, String)> {
        let tree = self.ask("Accessibility.getFullAXTree", json!({}));
        let nodes = tree["nodes"].as_array().expect("nodes").iter();
        let text = |value: &Value| value["value"].as_str().unwrap_or_default().to_owned();
        let nodes = nodes.filter(|node| node["ignored"] != true);
        nodes.map(|node| (text(&node["role"]), text(&node["name"]))).collect()
    }
}
