// SPDX-License-Identifier: Apache-2.0
// The bodies of the operations on files.
#pragma once

#include "json/reader.h"
#include "sandbox/files.h"
#include "sandbox/grep.h"

namespace atl::api {

Result<sandbox::StatFile> ParseStat(const json::Object& body);
Result<sandbox::MakeDir> ParseMakeDir(const json::Object& body);
Result<sandbox::MoveFile> ParseMove(const json::Object& body);
Result<sandbox::CopyFile> ParseCopy(const json::Object& body);
Result<sandbox::RemoveFile> ParseRemove(const json::Object& body);
Result<sandbox::SetFile> ParseSet(const json::Object& body);
// `any_depth`: how deep a search goes when the body does not say.
Result<sandbox::ListFiles> ParseList(const json::Object& body, bool any_depth);

Result<sandbox::GrepRequest> ParseGrep(const json::Object& body);

// A place in a listing for the next request, and back.
std::string CursorOf(const sandbox::Listing& listing);

}  // namespace atl::api
