#include "fs/mount/mount_options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "base/limits.h"

namespace moraine::fs::mount {
namespace {

using namespace std::chrono_literals;

// They are stored in chunks that stay attached to the file until all of them are; half of what may
// be attached is for those and for what a stream that lost servers leaves behind.
constexpr uint64_t kDirtyBytesMax = 2_GiB;
static_assert(2 * kDirtyBytesMax <= limits::kChunksAttachedMax * limits::kChunkBytesMax);

// Words of mount(8) and /etc/fstab that say nothing to us.
constexpr std::array<std::string_view, 14> kIgnored = {
    "rw",    "defaults", "auto",   "noauto",  "user", "nouser",   "users",
    "owner", "group",    "nofail", "_netdev", "loud", "relatime", "default_permissions"};
// Words for the kernel.
constexpr std::array<std::string_view, 14> kForKernel = {
    "suid",  "nosuid", "dev",     "nodev",      "exec",    "noexec",      "sync",
    "async", "atime",  "noatime", "nodiratime", "dirsync", "strictatime", "noiversion"};

template <size_t n>
bool Contains(const std::array<std::string_view, n>& words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

// One word of -o.
void TranslateMountWord(std::string_view word, std::vector<std::string>* out) {
  if (word.empty() || Contains(kIgnored, word) || word.starts_with("x-") ||
      word.starts_with("comment=") || word.starts_with("user=")) {
    return;
  }
  if (Contains(kForKernel, word)) {
    out->push_back(fmt::format("--mount-flag={}", word));
    return;
  }
  if (word == "ro") word = "read-only";
  std::string name(word.substr(0, word.find('=')));
  const std::string_view rest = word.substr(name.size());
  std::replace(name.begin(), name.end(), '_', '-');
  out->push_back(fmt::format("--{}{}", name, rest));
}

void TranslateMountWords(std::string_view words, std::vector<std::string>* out) {
  while (!words.empty()) {
    const size_t comma = std::min(words.find(','), words.size());
    TranslateMountWord(words.substr(0, comma), out);
    words.remove_prefix(std::min(comma + 1, words.size()));
  }
}

bool IsHelperName(std::string_view program) {
  const size_t slash = program.rfind('/');
  return program.substr(slash == std::string_view::npos ? 0 : slash + 1).starts_with("mount.");
}

// Whether an option of the table, as it stands on the command line, takes the next word.
bool TakesNextWord(std::string_view arg) {
  if (!arg.starts_with("--") || arg.find('=') != std::string_view::npos) return false;
  constexpr std::array<std::string_view, 7> kSwitches = {
      "--foreground", "--allow-other",         "--read-only", "--help",
      "--version",    "--print-sample-config", "--man"};
  return !Contains(kSwitches, arg);
}

Manual MakeManual() {
  return {
      .section = 8,
      .description =
          "`moraine-mount METASERVER MOUNTPOINT` mounts the file system, returns when it is there, "
          "and serves it from the background. It ends when the directory is unmounted. As "
          "`/sbin/mount.fuse.moraine`, a link to it, it is the helper of mount(8), so that `mount "
          "-t fuse.moraine` and lines in `/etc/fstab` work. Options may be given as `--name value` "
          "or as `-o name=value,...`, with `_` for `-`; the words of mount(8) are understood: ro, "
          "nosuid, nodev, noexec, noatime, sync, dirsync and their opposites go to the kernel, "
          "auto, nofail, _netdev, user and x-... say nothing here.\n\n"
          "Between mounts, what was closed or synced is visible to every later open and stat; one "
          "mount always sees its own writes. While servers are away calls wait, then fail with EIO "
          "or ETIMEDOUT after `--timeout`; the mount works again by itself when they are back. "
          "Locks (fcntl, flock) hold within one mount.",
      .files = {{"`/dev/fuse`",
                 "The kernel's side; in a container the device must be given to it."},
                {"`/sbin/mount.fuse.moraine`", "A link to this program, for mount(8)."}},
      .environment = {{"`MORAINE_LOG`",
                       "The least important level that is logged before the options are read: "
                       "debug, info, warning, error or off."}},
      .signals =
          {{"`SIGTERM`, `SIGINT`",
            "Leaves the directory tree at once, gives programs `--stop-timeout` to close their "
            "files, writes everything out, and ends."},
           {"`SIGHUP`", "Opens the log file anew."},
           {"`SIGKILL`",
            "Leaves a directory that says `Transport endpoint is not connected`. Mounting again "
            "takes it away first. What was not synced is lost."}},
      .metrics =
          "`http://HTTP/metrics` lists all metrics with one sentence each, as Prometheus text; "
          "moraine_metrics(7) explains them. `http://HTTP/healthz` answers 200 and `ok` while the "
          "file system is mounted, else 503 and why.",
      .errors =
          {{"MOUNTPOINT: no such directory; MOUNTPOINT: not a directory",
            "Make the directory first; a file cannot be mounted on."},
           {"MOUNTPOINT: ADDRESS is mounted there already",
            "Unmount it first: `umount MOUNTPOINT`."},
           {"/dev/fuse is missing",
            "Load the kernel module (`modprobe fuse`), or give the container the device."},
           {"metaserver ADDRESS: ...",
            "No metaserver answered there within `--timeout`: start it, or correct the address."}},
      .examples = {{"moraine-mount 10.0.0.1:7440 /mnt -o timeout=10s,allow_other",
                    "Mount; every user may use it:"},
                   {"mount -t fuse.moraine 10.0.0.1:7440 /mnt\numount /mnt",
                    "The same through mount(8):"},
                   {"10.0.0.1:7440 /mnt fuse.moraine noatime,allow_other,_netdev,nofail 0 0",
                    "A line of `/etc/fstab`:"}},
      .see_also = {"mount(8)", "fuse(4)", "moraine-metaserver(8)", "moraine(1)",
                   "moraine_metrics(7)"}};
}

}  // namespace

std::unique_ptr<OptionTable> MakeMountOptionTable(MountOptions* options) {
  auto table = std::make_unique<OptionTable>(
      "moraine-mount", "Mounts a Moraine file system on a directory of this machine.");
  table->AddEndpoint("metaserver", &options->metaserver, "The metaserver to connect to.",
                     {.required = true});
  table->AddDuration("timeout", &options->timeout, 1s, 1h,
                     "After this time without an answer from the servers a call fails with EIO or "
                     "ETIMEDOUT.");
  table->AddBool("foreground", &options->foreground, "Stay in the foreground.");
  table->AddBool("allow-other", &options->allow_other,
                 "Let users other than the one who mounts in.");
  table->AddBool("read-only", &options->read_only, "Refuse every change.");
  table->AddDuration("entry-timeout", &options->entry_timeout, 0s, 1h,
                     "How long the kernel believes the name of a file without asking; 0 shows the "
                     "changes of other mounts at once.");
  table->AddDuration("directory-timeout", &options->directory_timeout, 0s, 1h,
                     "How long the kernel believes the name of a directory.");
  table->AddDuration("attr-timeout", &options->attr_timeout, 0s, 1h,
                     "How long the kernel believes attributes of an open file or a directory.");
  table->AddDuration("listing-timeout", &options->listing_timeout, 0s, 1h,
                     "How long the kernel believes names and attributes that a listing brought.");
  table->AddBytes("read-ahead", &options->read_ahead_bytes, 0, 1_GiB,
                  "How far the kernel and the client read ahead of a sequential reader.");
  table->AddBytes("window", &options->window_bytes, 1_MiB, 1_GiB,
                  "Bytes of one file that are sent and not yet acknowledged, at most.");
  table->AddBytes("dirty", &options->dirty_bytes, 1_MiB, kDirtyBytesMax,
                  "Bytes of random writes of one file that are held back, at most.");
  AddProcessOptions(
      *table, &options->process,
      {.stop_timeout = "At SIGTERM, how long to wait for programs to close their files.",
       .stop_timeout_min = 0s,
       .stop_timeout_max = 10min,
       .log_level = ReloadClass::kRestart,
       .log_file = "The log; empty: standard error, which ends when the program goes into the "
                   "background."});
  table->AddList("mount-flag", &options->mount_flags,
                 "A flag of mount(8) for the kernel, for example noexec.");
  table->AddArgument("MOUNTPOINT", &options->mountpoint, true, "The directory to mount on.");
  table->AddRule([options, table = table.get()]() -> Status {
    for (const std::string& flag : options->mount_flags) {
      if (Contains(kForKernel, flag)) continue;
      return table->Bad("mount-flag",
                        fmt::format("must be one of {}", fmt::join(kForKernel, ", ")));
    }
    return {};
  });
  table->SetManual(MakeManual());
  return table;
}

Result<std::vector<std::string>> TranslateArguments(std::string_view program,
                                                    const std::vector<std::string>& args) {
  const bool helper = IsHelperName(program);
  std::vector<std::string> out;
  std::vector<std::string> places;
  for (size_t i = 0; i < args.size(); ++i) {
    const std::string& arg = args[i];
    const bool has_next = i + 1 < args.size();
    if (arg == "-o" || (helper && (arg == "-t" || arg == "-N"))) {
      if (!has_next) return {Code::kInvalidArgument, arg + ": needs a value"};
      ++i;
      if (arg == "-o") TranslateMountWords(args[i], &out);
    } else if (arg.starts_with("-o")) {
      TranslateMountWords(std::string_view(arg).substr(2), &out);
    } else if (helper && (arg == "-s" || arg == "-n" || arg == "-v" || arg == "-w")) {
      continue;  // sloppy, no mtab, verbose, writable
    } else if (helper && arg == "-r") {
      out.push_back("--read-only");
    } else if (!helper && arg == "-f") {
      out.push_back("--foreground");
    } else if (arg.starts_with("-")) {
      out.push_back(arg);
      if (TakesNextWord(arg) && has_next) out.push_back(args[++i]);
    } else {
      places.push_back(arg);
    }
  }
  if (places.size() >= 2) {
    out.push_back("--metaserver=" + places[0]);
    places.erase(places.begin());
  }
  for (std::string& place : places) out.push_back(std::move(place));
  return out;
}

}  // namespace moraine::fs::mount
