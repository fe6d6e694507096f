// SPDX-License-Identifier: Apache-2.0
// top: what sandboxes use, again and again.
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <map>
#include <thread>

#include "cli/answer_list.h"
#include "cli/api_client.h"
#include "cli/verbs.h"
#include "json/writer.h"

namespace atl::cli {
namespace {

using boost::json::object;
using boost::json::value;

struct Line {
  std::string id;
  std::string state;
  // What the daemon does not say is not known.
  std::optional<double> cpu_percent;
  std::optional<double> memory_bytes;
  std::optional<double> disk_bytes;
  std::optional<double> processes;
  std::optional<double> age_seconds;
};

std::string Text(const object& from, std::string_view name) {
  const value* found = from.if_contains(name);
  return found != nullptr && found->is_string() ? std::string(found->get_string()) : std::string();
}

std::optional<double> Number(const object& from, std::string_view name) {
  const value* found = from.if_contains(name);
  if (found == nullptr || !found->is_number()) return std::nullopt;
  return found->to_number<double>();
}

// "2026-01-02T03:04:05…Z"
std::optional<double> SecondsSince(const std::string& iso) {
  std::tm time{};
  if (::strptime(iso.c_str(), "%Y-%m-%dT%H:%M:%S", &time) == nullptr) return std::nullopt;
  return std::max(0.0, std::difftime(std::time(nullptr), ::timegm(&time)));
}

Line LineOf(const object& sandbox) {
  Line line{.id = Text(sandbox, "id"), .state = Text(sandbox, "state")};
  line.age_seconds = SecondsSince(Text(sandbox, "createdAt"));
  const value* usage = sandbox.if_contains("usage");
  if (usage == nullptr || !usage->is_object()) return line;
  const object& used = usage->get_object();
  std::optional<double> cpus = Number(used, "cpus");
  if (cpus) line.cpu_percent = *cpus * 100;
  line.memory_bytes = Number(used, "memory");
  line.disk_bytes = Number(used, "disk");
  line.processes = Number(used, "processes");
  return line;
}

Result<std::vector<Line>> Read(const ApiClient& client) {
  ASSIGN(std::string answer, client.Call("GET", "/v1/sandboxes"));
  ASSIGN(std::vector<boost::json::object> sandboxes, ListOf(answer, "sandboxes"));
  std::vector<Line> lines;
  for (const boost::json::object& sandbox : sandboxes) lines.push_back(LineOf(sandbox));
  return lines;
}

using Before = bool (*)(const Line&, const Line&);

// The largest, or oldest, first; what is not known comes last.
template <std::optional<double> Line::* member>
bool Larger(const Line& a, const Line& b) {
  return (a.*member).value_or(-1) > (b.*member).value_or(-1);
}

Result<Before> OrderOf(const std::string& name) {
  const std::map<std::string, Before> orders = {
      {"cpu", Larger<&Line::cpu_percent>},
      {"memory", Larger<&Line::memory_bytes>},
      {"disk", Larger<&Line::disk_bytes>},
      {"processes", Larger<&Line::processes>},
      {"age", Larger<&Line::age_seconds>},
      {"id", [](const Line& a, const Line& b) { return a.id < b.id; }},
      {"state", [](const Line& a, const Line& b) { return a.state < b.state; }},
  };
  auto found = orders.find(name);
  if (found != orders.end()) return found->second;
  return Fail(Code::kInvalidArgument,
              fmt::format("--sort {}: name cpu, memory, disk, processes, age, id or state", name));
}

std::string Bytes(std::optional<double> bytes) {
  if (!bytes) return "-";
  double size = *bytes;
  for (const char* unit : {"B", "K", "M", "G"}) {
    if (size < 1000) return fmt::format("{:.{}f}{}", size, size < 10 && *unit != 'B' ? 1 : 0, unit);
    size /= 1024;
  }
  return fmt::format("{:.1f}T", size);
}

std::string Age(std::optional<double> seconds) {
  if (!seconds) return "-";
  auto whole = static_cast<int64_t>(*seconds);
  if (whole < 60) return fmt::format("{}s", whole);
  if (whole < 3600) return fmt::format("{}m{:02}s", whole / 60, whole % 60);
  if (whole < 86400) return fmt::format("{}h{:02}m", whole / 3600, whole / 60 % 60);
  return fmt::format("{}d{:02}h", whole / 86400, whole / 3600 % 24);
}

std::string Plain(std::optional<double> number, int digits) {
  return number ? fmt::format("{:.{}f}", *number, digits) : "-";
}

std::string TableOf(const std::vector<Line>& lines, size_t rows) {
  std::map<std::string, int> states;
  for (const Line& line : lines) ++states[line.state];
  std::string text = fmt::format("{} sandboxes", lines.size());
  for (const auto& [state, count] : states) text += fmt::format(", {} {}", count, state);
  text += fmt::format("\n\n{:<40} {:<10} {:>7} {:>7} {:>7} {:>6} {:>8}\n", "ID", "STATE", "CPU%",
                      "MEMORY", "DISK", "PROCS", "AGE");
  for (size_t i = 0; i < std::min(lines.size(), rows); ++i) {
    const Line& line = lines[i];
    text += fmt::format("{:<40} {:<10} {:>7} {:>7} {:>7} {:>6} {:>8}\n", line.id, line.state,
                        Plain(line.cpu_percent, 1), Bytes(line.memory_bytes),
                        Bytes(line.disk_bytes), Plain(line.processes, 0), Age(line.age_seconds));
  }
  return text;
}

void AddNumber(json::Writer& writer, std::string_view name, std::optional<double> number) {
  writer.Key(name);
  if (number) {
    writer.Number(*number);
  } else {
    writer.Null();
  }
}

std::string JsonOf(const std::vector<Line>& lines) {
  json::Writer writer;
  writer.BeginObject().Key("sandboxes").BeginArray();
  for (const Line& line : lines) {
    writer.BeginObject().Field("id", line.id).Field("state", line.state);
    AddNumber(writer, "cpuPercent", line.cpu_percent);
    AddNumber(writer, "memoryBytes", line.memory_bytes);
    AddNumber(writer, "diskBytes", line.disk_bytes);
    AddNumber(writer, "processes", line.processes);
    AddNumber(writer, "ageSeconds", line.age_seconds);
    writer.EndObject();
  }
  writer.EndArray().EndObject();
  return writer.Take() + "\n";
}

// How many sandboxes fit on the screen below the heading.
size_t RowsOfTerminal() {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row < 6) return 20;
  return size.ws_row - 4U;
}

}  // namespace

Result<int> Top(const Globals& globals, const TopArguments& arguments) {
  ASSIGN(Before before, OrderOf(arguments.sort));
  ASSIGN(ApiClient client, ApiClient::Connect(globals));
  bool again = !arguments.once && !globals.json && ::isatty(STDOUT_FILENO) == 1;
  do {
    ASSIGN(std::vector<Line> lines, Read(client));
    std::ranges::sort(lines, [before](const Line& a, const Line& b) {
      return before(a, b) || (!before(b, a) && a.id < b.id);
    });
    if (globals.json) {
      fmt::print("{}", JsonOf(lines));
    } else if (again) {
      // Home, the table, then nothing of what stood below it.
      fmt::print("\x1b[H\x1b[2J{}", TableOf(lines, RowsOfTerminal()));
    } else {
      fmt::print("{}", TableOf(lines, lines.size()));
    }
    std::fflush(stdout);
    if (again) std::this_thread::sleep_for(std::chrono::seconds(1));
  } while (again);
  return 0;
}

}  // namespace atl::cli
