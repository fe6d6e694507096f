// SPDX-License-Identifier: Apache-2.0
// Keys, config, indexes, packs and chunks of a repository that restic itself has made, and restic's
// opinion of the same repository when all of it was written here.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "repository/chunker.h"
#include "repository/key.h"
#include "repository/names.h"
#include "repository/pack.h"

namespace atl::repository {
namespace {

namespace fs = std::filesystem;

std::string ReadAll(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void WriteAll(const fs::path& path, std::string_view content) {
  fs::create_directories(path.parent_path());
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << content;
  ASSERT_TRUE(file.flush()) << path;
}

std::vector<fs::path> FilesIn(const fs::path& dir) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(dir)) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  return files;
}

std::string Noise(size_t bytes) {
  std::mt19937_64 random(11);
  std::string data(bytes, 0);
  for (char& c : data) c = static_cast<char>(random());
  return data;
}

Result<std::string> OpenFile(const Key& key, std::string_view sealed) {
  std::string plain;
  TRY(key.Open(sealed, plain));
  return DecodeUnpacked(plain, kMaxIndexBytes);
}

class ResticPacks : public ::testing::Test {
 protected:
  void SetUp() override {
    if (std::system("command -v restic >/dev/null") != 0) GTEST_SKIP() << "no restic";
    std::string name = fs::temp_directory_path() / "atoll-packs-XXXXXX";
    dir_ = ::mkdtemp(name.data());
    repo_ = dir_ / "repo";
    data_ = dir_ / "data";
    Restic("one", "init --repository-version 2");

    files_ = {{"noise", Noise(30U << 20U)},
              {"zeros", std::string(3 << 20, '\0')},
              {"sub/text", std::string(5 << 20, 'x') + "end"},
              {"sub/small", "a few bytes"}};
    for (const auto& [path, content] : files_) WriteAll(data_ / path, content);
    Restic("one", "backup " + data_.string());
  }
  void TearDown() override {
    if (!dir_.empty()) fs::remove_all(dir_);
  }

  void Restic(const std::string& password, const std::string& arguments) {
    std::string command = "cd / && RESTIC_PASSWORD=" + password + " restic --no-cache -q -r " +
                          repo_.string() + " " + arguments + " 2>&1";
    FILE* pipe = popen(command.c_str(), "r");
    ASSERT_NE(pipe, nullptr);
    std::string output;
    std::array<char, 4096> buffer{};
    while (size_t n = fread(buffer.data(), 1, buffer.size(), pipe)) output.append(buffer.data(), n);
    EXPECT_EQ(pclose(pipe), 0) << command << "\n" << output;
  }

  void Unlock() {
    auto paths = FilesIn(repo_ / "keys");
    ASSERT_EQ(paths.size(), 1U);
    auto file = KeyFile::FromJson(ReadAll(paths[0]));
    ASSERT_TRUE(file) << file.error().message;
    auto wrong = file->Unlock("two");
    ASSERT_FALSE(wrong);
    EXPECT_EQ(wrong.error().reason, "REPOSITORY_PASSWORD_WRONG");
    auto key = file->Unlock("one");
    ASSERT_TRUE(key) << key.error().message;
    key_ = *key;
    auto config_json = OpenFile(key_, ReadAll(repo_ / "config"));
    ASSERT_TRUE(config_json);
    auto config = RepositoryConfig::FromJson(*config_json);
    ASSERT_TRUE(config) << config.error().message;
    config_ = *config;
  }

  void ReadIndexes() {
    for (const fs::path& path : FilesIn(repo_ / "index")) {
      auto json = OpenFile(key_, ReadAll(path));
      ASSERT_TRUE(json) << json.error().message;
      auto decoded = DecodeIndex(*json, [&](IndexedPack pack) -> Result<void> {
        std::ranges::sort(pack.blobs, {}, &PackedBlob::offset);
        packs_.push_back(std::move(pack));
        return {};
      });
      ASSERT_TRUE(decoded) << decoded.error().message;
    }
  }

  void ReadPacks() {
    for (const IndexedPack& pack : packs_) {
      std::string bytes = ReadAll(repo_ / KeyOf(FileType::kData, pack.pack));
      EXPECT_EQ(Hash(bytes), pack.pack);
      EXPECT_EQ(DecodePackHeader(key_, bytes, bytes.size()), pack.blobs);
      for (const PackedBlob& blob : pack.blobs) {
        std::string_view sealed = std::string_view(bytes).substr(blob.offset, blob.length);
        auto plain = OpenBlob(key_, blob, sealed);
        ASSERT_TRUE(plain) << plain.error().message;
        std::string pieces;
        EXPECT_TRUE(OpenBlobTo(key_, blob, sealed, [&](std::string_view piece) -> Result<void> {
          pieces += piece;
          return {};
        }));
        EXPECT_EQ(pieces, *plain);
        blobs_[blob.handle] = std::move(*plain);
      }
    }
  }

  // Replaces the key file, the config, all packs and all indexes by what this room writes.
  void Rewrite() {
    fs::remove_all(repo_ / "keys");
    std::string key_file = KeyFile::Make(key_, "two", {.n = 1024, .r = 8, .p = 1}).ToJson();
    WriteAll(repo_ / KeyOf(FileType::kKey, Hash(key_file)), key_file);

    std::string config;
    key_.Seal(config_.ToJson(), config);
    fs::remove(repo_ / "config");
    WriteAll(repo_ / "config", config);

    IndexFile index;
    for (BlobType type : {BlobType::kData, BlobType::kTree}) {
      index.packs.push_back({});
      std::string bytes;
      for (const auto& [handle, plain] : blobs_) {
        if (handle.type != type) continue;
        SealedBlob sealed = SealBlob(key_, handle, plain);
        if (index.packs.back().blobs.size() % 2 == 1) {
          BlobSealer sealer(type);
          ASSERT_TRUE(sealer.Append(plain));
          auto streamed = sealer.Finish(key_);
          ASSERT_TRUE(streamed);
          sealed = std::move(*streamed);
        }
        index.packs.back().blobs.push_back({.handle = sealed.handle,
                                            .offset = static_cast<uint32_t>(bytes.size()),
                                            .length = static_cast<uint32_t>(sealed.bytes.size()),
                                            .raw_length = sealed.raw_length});
        bytes += sealed.bytes;
      }
      bytes += EncodePackHeader(key_, index.packs.back().blobs);
      index.packs.back().pack = Hash(bytes);
      for (const IndexedPack& old : packs_) fs::remove(repo_ / KeyOf(FileType::kData, old.pack));
      packs_.clear();
      WriteAll(dir_ / "new" / KeyOf(FileType::kData, Hash(bytes)), bytes);
    }
    fs::copy(dir_ / "new", repo_, fs::copy_options::recursive);
    fs::remove_all(repo_ / "index");
    std::string sealed_index;
    key_.Seal(EncodeUnpacked(EncodeIndex(index)), sealed_index);
    WriteAll(repo_ / KeyOf(FileType::kIndex, Hash(sealed_index)), sealed_index);
  }

  fs::path dir_;
  fs::path repo_;
  fs::path data_;
  std::map<std::string, std::string> files_;
  Key key_;
  RepositoryConfig config_;
  std::vector<IndexedPack> packs_;
  std::map<BlobHandle, std::string> blobs_;
};

TEST_F(ResticPacks, ReadHereAndWrittenForRestic) {
  ASSERT_NO_FATAL_FAILURE(Unlock());
  ASSERT_NO_FATAL_FAILURE(ReadIndexes());
  ASSERT_NO_FATAL_FAILURE(ReadPacks());
  ASSERT_GT(blobs_.size(), 20U);

  ASSERT_NO_FATAL_FAILURE(Rewrite());
  Restic("two", "check --read-data");
  Restic("two", "restore latest --target " + (dir_ / "out").string());
  for (const auto& [path, content] : files_) {
    EXPECT_TRUE(ReadAll(dir_ / "out" / data_.relative_path() / path) == content) << path;
  }
}

TEST_F(ResticPacks, ChunksAreThoseOfRestic) {
  ASSERT_NO_FATAL_FAILURE(Unlock());
  ASSERT_NO_FATAL_FAILURE(ReadIndexes());
  std::map<Id, size_t> stored;
  for (const IndexedPack& pack : packs_) {
    for (const PackedBlob& blob : pack.blobs) {
      if (blob.handle.type == BlobType::kData) stored[blob.handle.id] = blob.PlainLength();
    }
  }
  std::map<Id, size_t> ours;
  Chunker chunker(ChunkerTables::For(config_.chunker_polynomial));
  for (const auto& [path, content] : files_) {
    chunker.Reset();
    for (std::string_view rest = content; !rest.empty();) {
      std::string_view chunk = rest.substr(0, chunker.Next(rest).value_or(rest.size()));
      ours[Hash(chunk)] = chunk.size();
      rest.remove_prefix(chunk.size());
    }
  }
  EXPECT_EQ(ours, stored);
}

}  // namespace
}  // namespace atl::repository
