"""Drives the web console in headless Chromium over the DevTools protocol.

web.py CHROMIUM URL FOLDER TEXT X Y SHELL: logs in as root, waits for the file SHELL, types TEXT with keys, "pasted" through the dialog, moves the pointer to X, Y, asks
the monitor in its tab, and leaves screen.png, monitor.png in FOLDER. Prints a line of JSON.
"""
import base64
import json
import os
import subprocess
import sys
import time
import urllib.request

import websocket

chromium, url, folder, text, x, y, shell = sys.argv[1:8]
LIMIT = 120


def wait(what, look):
    end = time.time() + LIMIT
    while time.time() < end:
        found = look()
        if found:
            return found
        time.sleep(0.2)
    sys.exit(f"{what}: not within {LIMIT} s")


class Page:
    def __init__(self, port):
        tabs = wait("Chromium's port", lambda: self.tabs(port))
        self.socket = websocket.create_connection(tabs[0], timeout=LIMIT, suppress_origin=True)
        self.count = 0
        self.errors = []

    @staticmethod
    def tabs(port):
        try:
            all = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json"))
        except OSError:
            return None
        return [t["webSocketDebuggerUrl"] for t in all if t["type"] == "page"]

    def call(self, method, **params):
        self.count += 1
        self.socket.send(json.dumps({"id": self.count, "method": method, "params": params}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.errors.append(json.dumps(message["params"])[:500])
            if message.get("id") == self.count:
                if "error" in message:
                    sys.exit(f"{method}: {message['error']}")
                return message["result"]

    def value(self, expression):
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def key(self, code, key, down, shift=False):
        kind = "rawKeyDown" if down else "keyUp"
        self.call("Input.dispatchKeyEvent", type=kind, code=code, key=key, modifiers=8 if shift else 0)

    def stroke(self, code, key):
        self.key(code, key, True)
        time.sleep(0.03)
        self.key(code, key, False)
        time.sleep(0.03)

    def type(self, text):
        for c in text:
            if c.isalpha():
                self.stroke("Key" + c.upper(), c)
            elif c.isdigit():
                self.stroke("Digit" + c, c)
            else:
                self.stroke({" ": "Space", "-": "Minus", "\n": "Enter", "/": "Slash", ".": "Period"}[c], c)

    def picture(self, name):
        data = self.call("Page.captureScreenshot")["data"]
        with open(f"{folder}/{name}", "wb") as f:
            f.write(base64.b64decode(data))


browser = subprocess.Popen(
    [chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-port=0",
     f"--user-data-dir={folder}/profile", "--window-size=1100,860", "about:blank"],
    stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
try:
    port = None
    for line in browser.stderr:
        if "DevTools listening on" in line:
            port = int(line.split(":")[2].split("/")[0])
            break
    page = Page(port)
    page.call("Runtime.enable")
    page.call("Log.enable")
    page.call("Page.navigate", url=url)
    wait("the page", lambda: page.value("document.readyState") == "complete")
    wait("the status line", lambda: page.value("document.getElementById('state').className === 'running'"))
    # Something other than black is drawn.
    # (Read from a copy: Chromium warns of canvases that are read again and again, which the page never does.)
    drawn = """(() => {
        const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d', { willReadFrequently: true });
        copy.drawImage(canvas, 0, 0);
        return copy.getImageData(0, 0, canvas.width, canvas.height).data.some((v, i) => i % 4 < 3 && v > 100);
    })()"""
    wait("a picture", lambda: page.value(drawn))
    page.value("canvas.focus()")
    # The guest sets its keyboard's lights, and the page shows them.
    lit = lambda: page.value("document.getElementById('caps').classList.contains('on')")
    page.stroke("CapsLock", "CapsLock")
    wait("the light of Caps Lock", lit)
    page.stroke("CapsLock", "CapsLock")
    wait("the light of Caps Lock to go out", lambda: not lit())
    page.type("root\n")
    wait("a shell on the screen", lambda: os.path.exists(shell))
    page.type(text + "\n")
    page.value("document.getElementById('paste').click()")
    wait("the dialog", lambda: page.value("document.getElementById('paste-dialog').open"))
    page.value("document.getElementById('paste-text').value = 'echo \"Pasted: {1..3} ~|$?\" > /tmp/pasted\\n'")
    if page.value("document.getElementById('layout').value") != "en-us" or page.value("document.getElementById('layout').length") < 20:
        sys.exit("the dialog does not offer keyboard layouts")
    page.value("document.getElementById('paste-ok').click()")
    wait("an absolute pointer", lambda: page.value("absolute"))
    box = page.value("(({left, top, width, height}) => [left, top, width, height])(canvas.getBoundingClientRect())")
    width, height = page.value("[canvas.width, canvas.height]")
    at = lambda v, start, size, pixels: start + (int(v) + 0.5) * size / pixels
    place = dict(x=at(x, box[0], box[2], width), y=at(y, box[1], box[3], height))
    page.call("Input.dispatchMouseEvent", type="mouseMoved", **place)
    time.sleep(1)
    page.picture("screen.png")
    page.value("panes.find((p) => p.tab.textContent === 'monitor').tab.click()")
    for c in "info status\r":
        name = "Enter" if c == "\r" else c
        code = 13 if c == "\r" else ord(c.upper())
        page.call("Input.dispatchKeyEvent", type="keyDown", key=name, text=c, windowsVirtualKeyCode=code)
        page.call("Input.dispatchKeyEvent", type="keyUp", key=name, windowsVirtualKeyCode=code)
    lines = ("Array.from({length: terminals[N].buffer.active.length}, (_, i) => "
             "terminals[N].buffer.active.getLine(i).translateToString(true)).join('\\n')")
    tabs = page.value("panes.map((p) => p.tab.textContent)")
    lines = lines.replace("N", str(tabs.index("monitor") - 1))
    wait("the monitor's answer", lambda: "VM status: running" in (page.value(lines) or ""))
    page.picture("monitor.png")
    page.value("panes[0].tab.click()")
    status = page.value("document.querySelector('footer').innerText")
    print(json.dumps({"size": [width, height], "tabs": tabs, "status": status, "errors": page.errors}))
finally:
    browser.terminate()
    browser.wait()
