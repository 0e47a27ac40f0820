"""/metrics is valid and what the manual page says; /healthz; SIGHUP and SIGTERM of each process."""
import os
import re
import signal
import subprocess
import tempfile
import urllib.error
import urllib.request

from harness import BIN, Cluster, say, wait_until

SAMPLE = re.compile(
    r"^([a-z_][a-z0-9_]*)(\{((?:[a-z_]+=\"(?:[^\"\\\n]|\\.)*\",?)*)\})? ([0-9.e+-]+|\+Inf|NaN)$"
)
ANYWHERE = "127.0.0.1:0"


def get(address, path):
    try:
        with urllib.request.urlopen("http://%s%s" % (address, path), timeout=10) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Content-Type"], error.read().decode()


def parse(text):
    """The families of a page as name -> type; every rule of the text format that we rely on."""
    families, helped, samples = {}, set(), set()
    current = None
    assert text.endswith("\n"), "the last line has no end"
    for line in text.splitlines():
        if line.startswith("# HELP "):
            current, sentence = line[7:].split(" ", 1)
            assert current not in helped, "two HELP lines for " + current
            assert sentence[0].isupper() and sentence.endswith("."), line
            helped.add(current)
        elif line.startswith("# TYPE "):
            name, kind = line[7:].split(" ")
            assert name == current and name not in families, "TYPE without HELP, or twice: " + line
            assert kind in ("counter", "gauge", "histogram"), line
            families[name] = kind
        else:
            match = SAMPLE.match(line)
            assert match, "not a sample: " + line
            key = match.group(1) + (match.group(2) or "")
            assert key not in samples, "twice: " + key
            samples.add(key)
            base = match.group(1)
            if families.get(current) == "histogram":
                base = re.sub(r"_(bucket|sum|count)$", "", base)
            assert base == current, "%s stands among the samples of %s" % (base, current)
            if families[current] == "counter":
                assert float(match.group(4)) >= 0, line
    assert helped == set(families), "HELP without TYPE: %s" % (helped ^ set(families))
    check_histograms(families, text)
    check_units(families)
    return families


def check_histograms(families, text):
    series = {}
    for name, labels, bound, value in re.findall(
        r"^([a-z_0-9]+)_bucket\{(.*?),?le=\"([^\"]+)\"\} (\d+)$", text, re.M
    ):
        series.setdefault((name, labels), []).append((float(bound), int(value)))
    for (name, labels), buckets in series.items():
        assert families[name] == "histogram", name
        assert buckets == sorted(buckets) and buckets[-1][0] == float("inf"), (name, buckets)
        counts = [count for _, count in buckets]
        assert counts == sorted(counts), (name, counts)
        braced = "{%s}" % labels if labels else ""
        assert "%s_count%s %d\n" % (name, braced, counts[-1]) in text, name + braced


def check_units(families):
    for name, kind in families.items():
        assert name.startswith("moraine_"), name
        assert (kind == "counter") == name.endswith("_total"), "%s is a %s" % (name, kind)
        assert not re.search(r"_(ms|us|ns|m[a-z]*seconds|nanoseconds)(_|$)", name), name
        if re.search(r"bytes", name):
            assert re.search(r"_bytes(_total)?$", name), name
        if re.search(r"seconds|latency|time", name):
            assert name.endswith("_seconds"), name


def documented(section):
    """name -> type, as the manual page has it."""
    with open(os.path.join(BIN, "..", "man", "moraine_metrics.7")) as file:
        page = file.read().replace("\\-", "-")
    body = page.split(".SH %s\n" % section)[1].split("\n.SH ")[0]
    return dict(re.findall(r"\\fB(moraine_\S+?)\\fR.*\((counter|gauge|histogram)\)", body))


def check_pages(cluster):
    for name, section in (
        ("metaserver", "METASERVER"),
        ("chunkserver:1", "CHUNKSERVER"),
        ("mount", "MOUNT"),
    ):
        if name == "mount" and not cluster.mount:
            continue
        address = cluster.process(name)["http"]
        code, kind, text = get(address, "/metrics")
        assert code == 200 and kind == "text/plain; version=0.0.4; charset=utf-8", (code, kind)
        families = parse(text)
        page = documented(section)
        assert families == page, "%s serves %s, the page has %s" % (
            name,
            sorted(set(families.items()) - set(page.items())),
            sorted(set(page.items()) - set(families.items())),
        )
        assert get(address, "/healthz")[::2] == (200, "ok\n"), name
        code, _, text = get(address, "/nothing")
        assert code == 404 and "/metrics" in text, text
        say("%s: %d families, healthy" % (name, len(families)))


def check_health(cluster):
    """A chunkserver without a metaserver is not well, and says why; then it is well again."""
    cluster.kill("metaserver")
    address = cluster.process("chunkserver:1")["http"]
    code, _, text = wait_until(
        lambda: (lambda answer: answer if answer[0] != 200 else None)(get(address, "/healthz")),
        30,
        "a chunkserver that misses its metaserver",
    )
    assert code == 503 and cluster.metaserver in text and text.count("\n") == 1, (code, text)
    cluster.start("metaserver")
    wait_until(lambda: get(address, "/healthz")[0] == 200, 30, "a healthy chunkserver")
    say("healthz follows the metaserver's death and return")


def log_text(path):
    if not os.path.exists(path):
        return ""
    with open(path, errors="replace") as file:
        return file.read()


def check_signals(program, command, log):
    """SIGHUP opens the log anew, SIGTERM ends it with 0 and nothing on standard error."""
    process = subprocess.Popen(
        [os.path.join(BIN, program), *command, "--log-file=" + log],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until(
            lambda: re.search(r"status on|registered with|serving on", log_text(log)),
            30,
            program + " to serve",
        )
        os.rename(log, log + ".1")
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: os.path.exists(log), 30, "a new log of " + program)
        process.send_signal(signal.SIGTERM)
        output = process.communicate(timeout=30)
        assert process.returncode == 0, (process.returncode, output)
        assert output == ("", ""), output
        assert "stopping" in log_text(log), log_text(log)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    say("%s: SIGHUP and SIGTERM are orderly" % program)


def main():
    mount = os.path.exists("/dev/fuse") and os.geteuid() == 0
    with Cluster(chunkservers=3, mount=mount) as cluster:
        check_pages(cluster)
        check_health(cluster)
        with tempfile.TemporaryDirectory(prefix="moraine-signals-") as folder:
            check_signals(
                "moraine-metaserver",
                ["--dir=" + folder + "/m", "--listen=" + ANYWHERE, "--http=" + ANYWHERE],
                folder + "/meta.log",
            )
            check_signals(
                "moraine-chunkserver",
                [
                    "--dir=" + folder + "/c",
                    "--listen=" + ANYWHERE,
                    "--journal-bytes=4MiB",
                    "--metaserver=" + cluster.metaserver,
                ],
                folder + "/chunk.log",
            )


main()
