// SPDX-License-Identifier: Apache-2.0
// What the routes about files have in common.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "api/v1/route.h"
#include "json/reader.h"
#include "json/writer.h"
#include "sandbox/files.h"

namespace atl::api {

// Of an answer that may be a part of the whole.
inline constexpr Field kRangeAnswer[] = {
    {.name = "Content-Range", .about = "Of a part: \"bytes 0-99/1000\"."},
    {.name = "Accept-Ranges", .about = "\"bytes\""},
};

// {"path","name","type","size","mode","uid","gid","modifiedAt","target"?}
void WriteFileInfo(json::Writer& writer, std::string_view path, const sandbox::FileInfo& info);
std::string FileJson(std::string_view path, const sandbox::FileInfo& info);

// "0644" or "644"; VALIDATION_FAILED.
Result<uint32_t> ParseMode(std::string_view text);

// A number of a query. VALIDATION_FAILED.
Result<std::optional<uint64_t>> QueryNumber(const http::RequestHead& request,
                                            std::string_view name);
// "1", "true" or nothing behind the name.
bool QueryFlag(const http::RequestHead& request, std::string_view name);

// What stands between commas, as long as that is not too much.
std::vector<std::string> SplitList(std::string_view list);

// As AcquireFor, but the first use of an id makes its sandbox.
async::Task<Result<std::shared_ptr<sandbox::Sandbox>>> AcquireOrCreate(const Services& services,
                                                                       std::string id,
                                                                       http::Exchange& exchange);

// The body, which is an object.
async::Task<Result<json::Object>> ReadJsonBody(http::Exchange& exchange);

// Content of a sandbox never runs on this origin, whatever it says that it is.
void AddContentPolicy(http::ResponseHead& head);
// `attachment` with the last part of the path.
std::string Attachment(std::string_view path, std::string_view suffix = {});

async::Task<> RespondNothing(http::Exchange& exchange);  // 204
// 416: a range of what has `size` bytes is behind its end.
async::Task<> RespondNoRange(http::Exchange& exchange, uint64_t size);

}  // namespace atl::api
