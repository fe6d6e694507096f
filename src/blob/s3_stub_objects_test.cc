// SPDX-License-Identifier: Apache-2.0
// What the stub does with objects, once a request is believed.
#include <fmt/format.h>

#include <algorithm>

#include "blob/s3_stub.h"
#include "blob/s3_xml.h"

namespace atl::blob {

S3Stub::Answer S3Stub::Object(const Request& request, Fault fault) {
  auto error = [](int status, std::string_view code) {
    return Answer{.status = status, .headers = {}, .body = ErrorXml(code)};
  };
  auto found = objects_.find(request.key);
  const std::string& method = request.head.method;
  if (method == "PUT") {
    if (request.head.headers.Has("If-None-Match")) {
      if (conditional == Conditional::kNotImplemented) return error(501, "NotImplemented");
      if (conditional == Conditional::kHonoured && found != objects_.end()) {
        return error(412, "PreconditionFailed");
      }
    }
    objects_[request.key] = request.body;
    return {};
  }
  if (method == "DELETE") {
    objects_.erase(request.key);
    return {.status = 204};
  }
  if (found == objects_.end()) {
    return method == "HEAD" ? Answer{.status = 404} : error(404, "NoSuchKey");
  }
  return Read(request, found->second, fault);
}

S3Stub::Answer S3Stub::Read(const Request& request, const std::string& data, Fault fault) const {
  std::string range(request.head.headers.Get("Range").value_or(""));
  if (range.empty() || fault == Fault::kNoRange)
    return {.status = 200, .headers = {}, .body = data};
  size_t dash = range.find('-');
  uint64_t first = std::stoull(range.substr(6, dash - 6));
  uint64_t last = std::min<uint64_t>(std::stoull(range.substr(dash + 1)), data.size() - 1);
  if (first >= data.size()) {
    return {.status = 416, .headers = {}, .body = ErrorXml("InvalidRange")};
  }
  Answer answer{.status = 206, .headers = {}, .body = data.substr(first, last - first + 1)};
  if (fault == Fault::kWrongRange) ++first;
  answer.headers.Set("Content-Range", fmt::format("bytes {}-{}/{}", first, last, data.size()));
  return answer;
}

S3Stub::Answer S3Stub::Upload(const Request& request, Fault fault) {
  const std::string& method = request.head.method;
  std::string id = Value(request.query, "uploadId");
  if (method == "POST" && id.empty()) {
    id = fmt::format("upload-{}", next_upload_++);
    uploads_[id];
    return {.status = 200,
            .headers = {},
            .body = fmt::format("<InitiateMultipartUploadResult><UploadId>{}</UploadId>"
                                "</InitiateMultipartUploadResult>",
                                id)};
  }
  auto upload = uploads_.find(id);
  if (upload == uploads_.end()) {
    return {.status = 404, .headers = {}, .body = ErrorXml("NoSuchUpload")};
  }
  if (method == "PUT") {
    int number = std::stoi(Value(request.query, "partNumber"));
    upload->second[number] = request.body;
    Answer answer;
    if (fault != Fault::kOtherTag) answer.headers.Set("ETag", fmt::format("\"<{}>\"", number));
    return answer;
  }
  if (method == "DELETE") {
    uploads_.erase(upload);
    return {.status = 204};
  }
  if (fault == Fault::kError200) return {.status = 200, .headers = {}, .body = ErrorXml("Oops")};
  std::string whole;
  auto document = ParseXml(request.body, "CompleteMultipartUpload");
  for (const XmlElement& part : document.value().children) {
    int number = std::stoi(std::string(part.Text("PartNumber")));
    if (part.Text("ETag") != fmt::format("\"<{}>\"", number)) {
      return {.status = 400, .headers = {}, .body = ErrorXml("InvalidPart")};
    }
    whole += upload->second.at(number);
  }
  objects_[request.key] = std::move(whole);
  uploads_.erase(upload);
  return {.status = 200, .headers = {}, .body = "<CompleteMultipartUploadResult/>"};
}

S3Stub::Answer S3Stub::List(const Request& request) const {
  std::string prefix = Value(request.query, "prefix");
  std::string after = Value(request.query, "start-after");
  std::string token = Value(request.query, "continuation-token");
  if (!token.empty()) after = token.substr(2);  // "t:" and the key
  std::string body;
  size_t count = 0;
  std::string last;
  bool truncated = false;
  for (const auto& [key, data] : objects_) {
    if (!key.starts_with(prefix) || (!endless && key <= after)) continue;
    if (count == page_size) {
      truncated = true;
      break;
    }
    body += fmt::format(
        "<Contents><Key>{}</Key><LastModified>2020-01-02T03:04:05.678Z</LastModified>"
        "<Size>{}</Size></Contents>",
        XmlEscape(key), data.size());
    last = key;
    ++count;
  }
  truncated = truncated || endless;
  if (truncated) {
    body += fmt::format("<NextContinuationToken>t:{}</NextContinuationToken>", XmlEscape(last));
  }
  return {.status = 200,
          .headers = {},
          .body = fmt::format("<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult "
                              "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><IsTruncated>{}"
                              "</IsTruncated>{}</ListBucketResult>",
                              truncated, body)};
}

}  // namespace atl::blob
