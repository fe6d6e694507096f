// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "api/bridge/handlers.h"
#include "api/bridge/terms.h"
#include "api/v1/file_json.h"
#include "api/v1/pieces.h"
#include "sandbox/archives.h"

namespace atl::api::bridge {
namespace {

constexpr size_t kPieceBytes = 256U << 10U;

struct Packing {
  std::shared_ptr<sandbox::Sandbox> sandbox;  // in use as long as it is packed
  std::unique_ptr<sandbox::ArchiveReader> reader;
  std::string_view first;
};

bool HasParent(std::string_view path) {
  while (!path.empty()) {
    size_t end = std::min(path.find('/'), path.size());
    if (path.substr(0, end) == "..") return true;
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  return false;
}

// What `tar --exclude ./path` leaves out: that path, not its namesakes deeper in the tree.
Result<std::vector<std::string>> ParseExcludes(const http::RequestHead& request) {
  std::vector<std::string> excludes = SplitList(Query(request, "excludes"));
  for (std::string& exclude : excludes) {
    if (HasParent(exclude)) {
      return Fail(Code::kInvalidArgument, "\"excludes\" must not have \"..\" in a path");
    }
    while (exclude.starts_with("./")) exclude.erase(0, 2);
    while (exclude.ends_with('/')) exclude.pop_back();
    // With a slash it is a path anyway, to agents of every release.
    if (!exclude.contains('/')) exclude.insert(0, "./");
  }
  return excludes;
}

async::Task<Result<Packing>> BeginPacking(const Services& services, std::string id,
                                          http::Exchange& exchange) {
  CO_TRY(co_await exchange.ReadBody(kMaxBodyBytes));  // which says nothing
  sandbox::PackFiles what{.path = std::string(kRoot), .user = {}, .exclude = {}};
  CO_ASSIGN(what.exclude, ParseExcludes(exchange.request()));
  Packing packing;
  CO_ASSIGN(packing.sandbox, co_await AcquireOrCreate(services, std::move(id), exchange));
  CO_ASSIGN(packing.reader,
            co_await sandbox::Pack(packing.sandbox->agent(), services.registry.streams(),
                                   std::move(what), sandbox::ArchiveFormat::kTar));
  // What cannot be packed at all is worth a status.
  CO_ASSIGN(packing.first, co_await packing.reader->Next());
  co_return packing;
}

// Links are taken as they are: what one workspace was packed from, another one gets.
async::Task<Result<void>> Unpack(sandbox::Sandbox& sandbox, async::BlockingPool& pool,
                                 std::string_view archive) {
  sandbox::UnpackFiles what{.path = std::string(kRoot), .user = {}, .any_links = true};
  CO_ASSIGN(auto writer, co_await sandbox::Unpack(sandbox.agent(), pool, std::move(what)));
  while (!archive.empty()) {
    size_t count = std::min(archive.size(), kPieceBytes);
    CO_TRY(co_await writer->Write(archive.substr(0, count)));
    archive.remove_prefix(count);
  }
  CO_TRY(co_await writer->Finish());
  co_return Result<void>();
}

async::Task<Result<void>> DoHydrate(const Services& services, std::string id,
                                    http::Exchange& exchange) {
  Result<std::string> archive = co_await exchange.ReadBody(kMostUpload);
  if (!archive) {
    Error error = std::move(archive).error();
    // What a file is refused for with 413 is, of an archive, a request that is wrong.
    if (error.code == Code::kTooLarge) error.code = Code::kInvalidArgument;
    co_return Unexpected(std::move(error));
  }
  if (archive->empty())
    co_return Fail(Code::kInvalidArgument, "the body is empty: it must be a tar");
  CO_ASSIGN(auto sandbox, co_await AcquireOrCreate(services, std::move(id), exchange));
  Result<void> unpacked = co_await Unpack(*sandbox, services.registry.streams(), *archive);
  // A tar that is none is what the tar inside fails at.
  if (!unpacked && unpacked.error().code == Code::kInvalidArgument) {
    unpacked.error().code = Code::kBadGateway;
  }
  co_return unpacked;
}

}  // namespace

async::Task<> Persist(const Services& services, Values values, http::Exchange& exchange) {
  Result<Packing> packing = co_await BeginPacking(services, std::move(values.at(0)), exchange);
  if (!packing) {
    co_await RespondFailure(exchange, std::move(packing).error(), kArchiveReadFailed);
    co_return;
  }
  http::ResponseHead head;
  AddContentPolicy(head);
  head.headers.Set("Content-Type", "application/octet-stream");
  head.headers.Set("Cache-Control", "no-store");
  Result<void> started = co_await exchange.StartResponse(std::move(head));
  if (!started) {
    exchange.Abort();
    co_return;
  }
  co_await SendPieces(*packing->reader, packing->first, exchange);
}

async::Task<> Hydrate(const Services& services, Values values, http::Exchange& exchange) {
  Result<void> done = co_await DoHydrate(services, std::move(values.at(0)), exchange);
  co_await RespondOk(exchange, std::move(done), kArchiveWriteFailed);
}

}  // namespace atl::api::bridge
