"""noVNC in headless Chromium over the DevTools protocol.

novnc.py CHROMIUM PAGES PORT FOLDER FILE WIDTH HEIGHT TEXT: serves PAGES, connects to the websocket at PORT, waits for a
screen of that size, types TEXT, writes the canvas to FILE as PPM.
"""
import base64
import functools
import http.server
import json
import subprocess
import sys
import threading
import time
import urllib.request

import websocket

chromium, pages, port, folder, file, width, height, text = sys.argv[1:9]
LIMIT = 60


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def wait(what, look):
    end = time.time() + LIMIT
    while time.time() < end:
        found = look()
        if found:
            return found
        time.sleep(0.1)
    sys.exit(f"{what}: not within {LIMIT} s")


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=pages))
threading.Thread(target=server.serve_forever, daemon=True).start()
browser = subprocess.Popen(
    [chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-port=0",
     f"--user-data-dir={folder}/profile", "--window-size=1100,860", "about:blank"],
    stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
try:
    for line in browser.stderr:
        if "DevTools listening on" in line:
            tools = int(line.split(":")[2].split("/")[0])
            break

    def page():
        try:
            tabs = json.load(urllib.request.urlopen(f"http://127.0.0.1:{tools}/json"))
        except OSError:
            return None
        return [t["webSocketDebuggerUrl"] for t in tabs if t["type"] == "page"]

    socket = websocket.create_connection(wait("Chromium's port", page)[0], timeout=LIMIT, suppress_origin=True)
    count = 0

    def call(method, **params):
        global count
        count += 1
        socket.send(json.dumps({"id": count, "method": method, "params": params}))
        while True:
            message = json.loads(socket.recv())
            if message.get("id") == count:
                if "error" in message:
                    sys.exit(f"{method}: {message['error']}")
                return message["result"]

    def value(expression):
        return call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    call("Page.navigate", url=f"http://127.0.0.1:{server.server_port}/vnc_lite.html?host=127.0.0.1&port={port}&path=")
    wait("the screen", lambda: value(
        f"(c => c && c.width == {width} && c.height == {height})(document.querySelector('#screen canvas'))"))
    # Until two looks are the same.
    pixels = ("(c => { let d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data, s = '';"
              "for (let i = 0; i < d.length; i += 4) s += String.fromCharCode(d[i], d[i + 1], d[i + 2]);"
              "return btoa(s); })(document.querySelector('#screen canvas'))")
    last = [None]

    def still():
        found, last[0] = last[0], value(pixels)
        time.sleep(0.5)
        return last[0] if found == last[0] and any(base64.b64decode(found)) else None

    picture = base64.b64decode(wait("a picture", still))
    with open(file, "wb") as f:
        f.write(f"P6\n{width} {height}\n255\n".encode() + picture)
    value("document.querySelector('#screen canvas').focus()")
    for c in text:
        shift = c.isupper() or c == "!"
        code = "Key" + c.upper() if c.isalpha() else "Digit1"
        if shift:
            call("Input.dispatchKeyEvent", type="rawKeyDown", code="ShiftLeft", key="Shift", location=1, modifiers=8)
        for kind in "keyDown", "keyUp":
            call("Input.dispatchKeyEvent", type=kind, code=code, key=c, modifiers=8 if shift else 0)
        if shift:
            call("Input.dispatchKeyEvent", type="keyUp", code="ShiftLeft", key="Shift", location=1)
        time.sleep(0.05)
    time.sleep(0.3)
finally:
    browser.terminate()
    browser.wait()
