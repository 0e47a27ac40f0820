"""mount(8) and /etc/fstab: the helper /sbin/mount.fuse.moraine with the words of people."""
import errno
import os
import subprocess
import sys

from harness import Cluster, need_mount, run, say, wait_until

HELPER = "/sbin/mount.fuse.moraine"
OPTIONS = (
    "ro,noatime,nosuid,nodev,_netdev,nofail,noauto,x-systemd.automount,timeout=10s,allow_other"
)


def mounts():
    with open("/proc/self/mounts") as file:
        return {line.split()[1]: line.split() for line in file}


def servants(directory):
    """Processes that serve a mount of ours at a directory."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/cmdline" % pid, "rb") as file:
                words = file.read().decode(errors="replace").split("\0")
        except OSError:
            continue
        if HELPER in words[0] or words[0].endswith("moraine-mount"):
            if directory in words:
                found.append(int(pid))
    return found


def unmount(directory):
    run(["timeout", "30", "umount", directory])
    wait_until(lambda: not servants(directory), 30, "the end of the mount's process")


def check_fstab(cluster, folder):
    directory = folder + "/from-fstab"
    os.mkdir(directory)
    with open(folder + "/fstab", "w") as file:
        file.write("%s %s fuse.moraine %s 0 0\n" % (cluster.metaserver, directory, OPTIONS))
    run(["timeout", "60", "mount", "-T", folder + "/fstab", directory])
    source, _, kind, options = mounts()[directory][:4]
    assert (source, kind) == (cluster.metaserver, "fuse.moraine"), (source, kind)
    for option in ("ro", "noatime", "nosuid", "nodev", "allow_other"):
        assert option in options.split(","), (option, options)
    try:
        open(directory + "/new", "w").close()
    except OSError as error:
        assert error.errno == errno.EROFS, error
    else:
        raise AssertionError("a read-only mount took a file")
    assert "hello" in os.listdir(directory), os.listdir(directory)
    again = run(
        ["timeout", "60", "mount", "-t", "fuse.moraine", cluster.metaserver, directory], check=False
    )
    assert again.returncode != 0 and "mounted there already" in again.stdout, again.stdout
    unmount(directory)
    say("fstab: %s" % options)


def check_command_line(cluster, folder):
    directory = folder + "/by hand"
    os.mkdir(directory)
    run(
        [
            "timeout",
            "60",
            "mount",
            "-t",
            "fuse.moraine",
            "-o",
            "noexec,read_ahead=1MiB",
            cluster.metaserver,
            directory,
        ]
    )
    line = mounts()[directory.replace(" ", "\\040")]
    assert "noexec" in line[3] and "rw" in line[3].split(","), line
    with open(directory + "/hello", "w") as file:
        file.write("hello\n")
    unmount(directory)
    wrong = run(
        [
            "timeout",
            "60",
            "mount",
            "-t",
            "fuse.moraine",
            "-o",
            "timout=3s",
            cluster.metaserver,
            directory,
        ],
        check=False,
    )
    assert wrong.returncode != 0 and "did you mean --timeout" in wrong.stdout, wrong.stdout
    say("mount -t fuse.moraine: mounted, used, unmounted; a wrong option is named")


def main():
    need_mount()
    made = False
    with Cluster(chunkservers=3) as cluster:
        program = os.path.realpath(cluster.program("moraine-mount"))
        if os.path.lexists(HELPER):
            if os.path.realpath(HELPER) != program:
                say("SKIPPED: %s belongs to another installation." % HELPER)
                sys.exit(77)
        else:
            os.symlink(program, HELPER)
            made = True
        folder = cluster.dir + "/mounts"
        os.mkdir(folder)
        try:
            check_command_line(cluster, folder)
            check_fstab(cluster, folder)
        finally:
            if made:
                os.unlink(HELPER)
            for directory in (folder + "/by hand", folder + "/from-fstab"):
                subprocess.run(
                    ["timeout", "30", "umount", "-l", directory], stderr=subprocess.DEVNULL
                )


main()
