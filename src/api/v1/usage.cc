// SPDX-License-Identifier: Apache-2.0
#include "api/v1/usage.h"

#include <cmath>
#include <optional>
#include <utility>

#include "api/seed/output_events.h"
#include "api/v1/route.h"
#include "sandbox/id.h"

namespace atl::api {
namespace {

// Three digits are what a sample is worth.
double Rounded(double cpus) { return std::round(cpus * 1000) / 1000; }

void WriteSample(json::Writer& writer, const sandbox::UsageSample& sample) {
  writer.BeginObject().Field("at", IsoTime(sample.at_ms)).Field("cpus", Rounded(sample.cpus));
  writer.Field("memory", sample.memory_bytes).Field("processes", sample.processes);
  writer.Field("disk", sample.disk_bytes).Field("sent", sample.sent_bytes);
  writer.Field("received", sample.received_bytes).EndObject();
}

}  // namespace

void WriteUsage(json::Writer& writer, const sandbox::UsageReport& report) {
  const sandbox::UsageSample& now = report.now;
  writer.BeginObject();
  if (now.at_ms != 0) {
    writer.Field("at", IsoTime(now.at_ms)).Field("cpus", Rounded(now.cpus));
    writer.Field("memory", now.memory_bytes).Field("processes", now.processes);
    writer.Field("sent", now.sent_bytes).Field("received", now.received_bytes);
  }
  if (report.disk) {
    writer.Field("disk", report.disk->bytes).Field("files", report.disk->inodes);
    if (!report.disk->complete) writer.Field("diskAtLeast", true);
  }
  writer.Field("oomKills", report.oom_kills);
  if (report.last_oom_at_ms != 0) writer.Field("lastOomAt", IsoTime(report.last_oom_at_ms));
  writer.EndObject();
}

async::Task<> RespondUsage(const Services& services, std::string id, http::Exchange& exchange) {
  std::optional<sandbox::Info> info = services.registry.Find(id);
  if (!info) {
    co_await http::RespondError(exchange, sandbox::NoSuchSandbox(id));
    co_return;
  }
  // One that has not run since the daemon started uses nothing that is known.
  auto report = services.registry.Usage(id, true).value_or(sandbox::UsageReport());
  json::Writer writer;
  writer.BeginObject().Field("id", info->id).Field("state", sandbox::StateName(info->state));
  writer.Key("now");
  WriteUsage(writer, report);
  writer.Key("limits").BeginObject().Field("cpus", info->limits.cpus);
  writer.Field("memory", info->limits.memory_bytes).Field("processes", info->limits.pids);
  writer.Field("disk", info->limits.disk_bytes).Field("files", info->limits.inodes);
  writer.Field("weight", info->limits.weight).EndObject();
  writer.Field("interval", static_cast<int64_t>(sandbox::kUsagePause.count()));
  writer.Key("history").BeginArray();
  for (const sandbox::UsageSample& sample : report.history) WriteSample(writer, sample);
  writer.EndArray().EndObject();
  co_await RespondResult(exchange, writer.Take());
}

}  // namespace atl::api
