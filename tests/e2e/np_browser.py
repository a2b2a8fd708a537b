"""A real Chromium without a window, driven by chromedriver over the WebDriver protocol. Owns both processes."""
import base64
import json
import os
import shutil
import subprocess
import tempfile
import urllib.request

from np_net import SLACK, free_port, is_listening, wait_for

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--disable-dev-shm-usage", "--window-size=1200,1600", "--no-proxy-server"]


class Browser:
    def __init__(self, folder):
        self._profile = tempfile.mkdtemp(prefix="np-chromium-")
        self.port, log = free_port("127.0.0.1"), open(os.path.join(folder, "chromedriver.log"), "wb")
        self._p = subprocess.Popen(["chromedriver", f"--port={self.port}"], stdin=subprocess.DEVNULL, stdout=log,
                                   stderr=log, env={**os.environ, "no_proxy": "*"})
        log.close()
        wait_for("chromedriver", lambda: is_listening(("127.0.0.1", self.port)), 20)
        options = {"args": [*FLAGS, f"--user-data-dir={self._profile}"], "binary": shutil.which("chromium")}
        self._session = self._do("POST", "/session", {"capabilities": {"alwaysMatch": {
            "browserName": "chrome", "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL"}}}})["sessionId"]

    def _do(self, method, path, body=None):
        r = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", None if body is None else
                                   json.dumps(body).encode(), {"Content-Type": "application/json"}, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(r, timeout=60 * SLACK) as f:
            return json.loads(f.read())["value"]

    def _in(self, method, path, body=None):
        return self._do(method, f"/session/{self._session}{path}", body)

    def open(self, url):
        self._in("POST", "/url", {"url": url})

    def run(self, script, *args):
        """The value that the body of a function in the page returns."""
        return self._in("POST", "/execute/sync", {"script": script, "args": list(args)})

    def wait(self, what, script, *args, timeout=20):
        return wait_for(lambda: f"{what}: {self.said()}", lambda: self.run(script, *args), timeout, step=0.1)

    def said(self):
        """Messages of the console since the last call."""
        return [x["message"] for x in self._in("POST", "/se/log", {"type": "browser"})]

    def screenshot(self, path):
        with open(path, "wb") as f:
            f.write(base64.b64decode(self._in("GET", "/screenshot")))

    def close(self):
        try:
            self._do("DELETE", f"/session/{self._session}")
        finally:
            self._p.terminate()
            self._p.wait(20)
            shutil.rmtree(self._profile, ignore_errors=True)
