// SPDX-License-Identifier: Apache-2.0
// A blob whose length is not known, as the parts of a multipart upload.
#pragma once

#include <future>
#include <memory>
#include <string>
#include <vector>

#include "blob/s3_client.h"
#include "blob/store.h"

namespace atl::blob {

// One part is sent while the next is filled. What is shorter than a part is a plain PUT.
class S3Upload : public StreamUpload {
 public:
  S3Upload(std::shared_ptr<S3Client> client, std::string key, std::string content_type,
           std::stop_token stop);
  S3Upload(const S3Upload&) = delete;
  S3Upload& operator=(const S3Upload&) = delete;
  ~S3Upload() override;

  Result<void> Write(std::string_view data) override;
  Result<void> Finish() override;

 private:
  Result<void> WriteParts(std::string_view data);
  Result<void> FinishAll();
  Result<void> PutWhole();
  Result<void> Begin();
  // Waits for the part that is under way, then sends the buffer in the background.
  Result<void> SendPart();
  Result<void> AwaitPart();
  Result<void> Complete();
  // Whether the blob is there as it was sent, though the answer to Complete was lost.
  bool Completed();
  void Abort();
  Result<void> Broken(Result<void> result);

  std::shared_ptr<S3Client> client_;
  std::string key_;
  std::string content_type_;
  std::stop_token stop_;
  std::string buffer_;
  std::string sending_;
  std::future<Result<std::string>> part_;
  std::string upload_id_;
  std::vector<std::string> etags_;
  uint64_t size_ = 0;
  bool ended_ = false;  // finished or failed: takes no more data
};

}  // namespace atl::blob
