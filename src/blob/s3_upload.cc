// SPDX-License-Identifier: Apache-2.0
#include "blob/s3_upload.h"

#include <fmt/format.h>

#include <algorithm>

#include "blob/s3_xml.h"

namespace atl::blob {
namespace {

constexpr size_t kMaxParts = 10'000;  // S3's
constexpr uint64_t kMaxAnswer = 64UL << 10U;

Unexpected BadAnswer(std::string_view what) {
  return Fail(Code::kBadGateway, fmt::format("the store's answer has no {}", what),
              "STORE_BAD_ANSWER");
}

bool IsToken(std::string_view text) {
  return !text.empty() && text.size() <= 1024 &&
         std::ranges::all_of(text, [](char c) { return c > 0x20 && c < 0x7f; });
}

// Some stores find out that it goes wrong when they have already said 200.
Result<void> CheckCompleted(const S3Response& response) {
  if (auto done = ParseXml(response.body, "CompleteMultipartUploadResult"); done) return {};
  S3Response failed = response;
  failed.status = 500;
  return Unexpected(FailureOf(failed).error);
}

}  // namespace

S3Upload::S3Upload(std::shared_ptr<S3Client> client, std::string key, std::string content_type,
                   std::stop_token stop)
    : client_(std::move(client)),
      key_(std::move(key)),
      content_type_(std::move(content_type)),
      stop_(std::move(stop)) {}

S3Upload::~S3Upload() {
  if (!ended_) Abort();
}

Result<void> S3Upload::Write(std::string_view data) { return Broken(WriteParts(data)); }

Result<void> S3Upload::Finish() {
  Result<void> done = Broken(FinishAll());
  ended_ = true;
  return done;
}

Result<void> S3Upload::Broken(Result<void> result) {
  if (!result && !ended_) {
    Abort();
    ended_ = true;
  }
  return result;
}

Result<void> S3Upload::WriteParts(std::string_view data) {
  if (ended_) return Fail(Code::kInternal, "an upload that has ended takes no more data");
  uint64_t part_bytes = client_->options().part_bytes;
  while (!data.empty()) {
    if (stop_.stop_requested()) return Fail(Code::kCancelled, "cancelled");
    // A part goes out only when something follows it: what fits into one is no multipart upload.
    if (buffer_.size() == part_bytes) TRY(SendPart());
    std::string_view piece = data.substr(0, part_bytes - buffer_.size());
    buffer_ += piece;
    size_ += piece.size();
    data.remove_prefix(piece.size());
  }
  return {};
}

Result<void> S3Upload::FinishAll() {
  if (ended_) return Fail(Code::kInternal, "an upload that has ended cannot be finished");
  if (upload_id_.empty()) return PutWhole();
  TRY(SendPart());
  TRY(AwaitPart());
  return Complete();
}

Result<void> S3Upload::PutWhole() {
  std::string_view body = buffer_;
  S3Request request{.method = "PUT", .key = key_, .body = std::span(&body, 1)};
  if (!content_type_.empty()) request.headers.emplace_back("Content-Type", content_type_);
  request.what = fmt::format("put {}", key_);
  TRY(client_->Send(request, stop_));
  return {};
}

Result<void> S3Upload::Begin() {
  S3Request request{.method = "POST", .key = key_, .query = {{"uploads", ""}}};
  if (!content_type_.empty()) request.headers.emplace_back("Content-Type", content_type_);
  request.limit = kMaxAnswer;
  request.what = fmt::format("begin an upload of {}", key_);
  std::string id;
  request.check = [&id](const S3Response& response) -> Result<void> {
    ASSIGN(XmlElement document, ParseXml(response.body, "InitiateMultipartUploadResult"));
    id = document.Text("UploadId");
    if (!IsToken(id)) return BadAnswer("UploadId");
    return {};
  };
  TRY(client_->Send(request, stop_));
  upload_id_ = std::move(id);
  return {};
}

Result<void> S3Upload::SendPart() {
  if (upload_id_.empty()) TRY(Begin());
  TRY(AwaitPart());
  if (etags_.size() == kMaxParts) {
    return Fail(Code::kTooLarge, fmt::format("put {}: it has more than {} parts", key_, kMaxParts));
  }
  sending_.swap(buffer_);
  buffer_.clear();
  auto send = [this, number = etags_.size() + 1]() -> Result<std::string> {
    std::string_view body = sending_;
    S3Request request{.method = "PUT",
                      .key = key_,
                      .query = {{"partNumber", fmt::to_string(number)}, {"uploadId", upload_id_}},
                      .body = std::span(&body, 1)};
    request.limit = kMaxAnswer;
    request.what = fmt::format("put part {} of {}", number, key_);
    request.check = [](const S3Response& response) -> Result<void> {
      if (!IsToken(response.headers.Get("ETag").value_or(""))) return BadAnswer("ETag");
      return {};
    };
    ASSIGN(S3Response response, client_->Send(request, stop_));
    return std::string(*response.headers.Get("ETag"));
  };
  part_ = std::async(std::launch::async, std::move(send));
  return {};
}

Result<void> S3Upload::AwaitPart() {
  if (!part_.valid()) return {};
  ASSIGN(std::string etag, part_.get());
  etags_.push_back(std::move(etag));
  return {};
}

Result<void> S3Upload::Complete() {
  std::string xml = "<CompleteMultipartUpload>";
  for (size_t i = 0; i < etags_.size(); ++i) {
    xml += fmt::format("<Part><PartNumber>{}</PartNumber><ETag>{}</ETag></Part>", i + 1,
                       XmlEscape(etags_[i]));
  }
  xml += "</CompleteMultipartUpload>";
  std::string_view body = xml;
  S3Request request{.method = "POST",
                    .key = key_,
                    .query = {{"uploadId", upload_id_}},
                    .headers = {{"Content-Type", "application/xml"}},
                    .body = std::span(&body, 1)};
  request.limit = kMaxAnswer;
  request.what = fmt::format("finish the upload of {}", key_);
  request.check = CheckCompleted;
  Result<S3Response> done = client_->Send(request, stop_);
  if (done || (done.error().reason == "UPLOAD_NOT_FOUND" && Completed())) return {};
  return Unexpected(std::move(done).error());
}

bool S3Upload::Completed() {
  S3Request request{.method = "HEAD", .key = key_, .what = fmt::format("look at {}", key_)};
  Result<S3Response> found = client_->Send(request, stop_);
  return found && found->headers.Get("Content-Length").value_or("") == fmt::to_string(size_);
}

void S3Upload::Abort() {
  // A part that arrives behind the abort would stay for ever.
  if (part_.valid()) part_.wait();
  if (upload_id_.empty()) return;
  S3Request request{.method = "DELETE",
                    .key = key_,
                    .query = {{"uploadId", upload_id_}},
                    .what = fmt::format("abort the upload of {}", key_)};
  // Not with the caller's stop token: it is the usual reason to be here. Should it fail, the
  // bucket's own rule for unfinished uploads is what is left.
  (void)client_->Send(request, {});
}

}  // namespace atl::blob
