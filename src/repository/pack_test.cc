// SPDX-License-Identifier: Apache-2.0
#include "repository/pack.h"

#include <gtest/gtest.h>

#include <bit>
#include <random>
#include <string>

namespace atl::repository {
namespace {

std::string Reason(const auto& result) {
  return result ? "no error" : std::string(ReasonOf(result.error()));
}

std::string Noise(size_t bytes) {
  std::mt19937 random(1);
  std::string data(bytes, 0);
  for (char& c : data) c = static_cast<char>(random());
  return data;
}

PackedBlob Packed(const SealedBlob& sealed, size_t offset = 0) {
  return {.handle = sealed.handle,
          .offset = static_cast<uint32_t>(offset),
          .length = static_cast<uint32_t>(sealed.bytes.size()),
          .raw_length = sealed.raw_length};
}

struct Pack {
  std::string bytes;
  std::vector<PackedBlob> blobs;
};

Pack MakePack(const Key& key, const std::vector<std::string>& contents) {
  Pack pack;
  for (const std::string& content : contents) {
    BlobType type = pack.blobs.size() % 3 == 2 ? BlobType::kTree : BlobType::kData;
    SealedBlob sealed = SealBlob(key, {.type = type, .id = Hash(content)}, content);
    pack.blobs.push_back(Packed(sealed, pack.bytes.size()));
    pack.bytes += sealed.bytes;
  }
  pack.bytes += EncodePackHeader(key, pack.blobs);
  return pack;
}

TEST(Blob, CompressedOnlyWhereThatHelps) {
  Key key = Key::Random();
  std::string text(100'000, 'x');
  SealedBlob sealed = SealBlob(key, {.type = BlobType::kData, .id = Hash(text)}, text);
  EXPECT_EQ(sealed.raw_length, text.size());
  EXPECT_LT(sealed.bytes.size(), 200U);
  EXPECT_EQ(OpenBlob(key, Packed(sealed), sealed.bytes), text);

  for (const std::string& content : {Noise(100'000), std::string(), std::string("a")}) {
    sealed = SealBlob(key, {.type = BlobType::kData, .id = Hash(content)}, content);
    EXPECT_EQ(sealed.raw_length, 0U);
    EXPECT_EQ(sealed.bytes.size(), content.size() + kSealOverhead);
    EXPECT_EQ(OpenBlob(key, Packed(sealed), sealed.bytes), content);
  }
}

TEST(Blob, InPieces) {
  Key key = Key::Random();
  std::string content = Noise(500'000) + std::string(3'000'000, 'z') + Noise(10);
  for (const std::string& plain : {content, std::string(), std::string("a")}) {
    BlobSealer sealer(BlobType::kTree);
    for (size_t at = 0; at < plain.size(); at += 70'001) {
      ASSERT_TRUE(sealer.Append(std::string_view(plain).substr(at, 70'001)));
    }
    auto sealed = sealer.Finish(key);
    ASSERT_TRUE(sealed);
    EXPECT_EQ(sealed->handle, (BlobHandle{.type = BlobType::kTree, .id = Hash(plain)}));
    EXPECT_EQ(OpenBlob(key, Packed(*sealed), sealed->bytes), plain);
    std::string pieces;
    ASSERT_TRUE(OpenBlobTo(key, Packed(*sealed), sealed->bytes,
                           [&](std::string_view piece) -> Result<void> {
                             pieces += piece;
                             return {};
                           }));
    EXPECT_EQ(pieces, plain);
  }
}

TEST(Blob, TooLargeAPieceIsRefused) {
  BlobSealer sealer(BlobType::kData);
  std::string piece(8U << 20U, 'a');
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(sealer.Append(piece));
  auto refused = sealer.Append("a");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kTooLarge);
}

TEST(Blob, WhatItsSinkSaysGoesUp) {
  Key key = Key::Random();
  SealedBlob sealed = SealBlob(key, {.type = BlobType::kData, .id = Hash("text")}, "text");
  auto failed = OpenBlobTo(key, Packed(sealed), sealed.bytes, [](std::string_view) -> Result<void> {
    return Fail(Code::kCancelled, "enough", "ENOUGH");
  });
  EXPECT_EQ(Reason(failed), "ENOUGH");
}

TEST(Blob, DamageIsFoundAndNamed) {
  Key key = Key::Random();
  std::string text(5000, 'x');
  SealedBlob sealed = SealBlob(key, {.type = BlobType::kData, .id = Hash(text)}, text);
  auto ignore = [](std::string_view) -> Result<void> { return {}; };
  auto expect_corrupt = [&](const PackedBlob& blob, std::string_view bytes) {
    auto opened = OpenBlob(key, blob, bytes);
    EXPECT_EQ(Reason(opened), "REPOSITORY_CORRUPT");
    EXPECT_NE(opened.error().message.find(blob.handle.id.Short()), std::string::npos);
    EXPECT_EQ(Reason(OpenBlobTo(key, blob, bytes, ignore)), "REPOSITORY_CORRUPT");
  };
  PackedBlob good = Packed(sealed);
  for (size_t i = 0; i < sealed.bytes.size(); ++i) {
    std::string flipped = sealed.bytes;
    flipped[i] = static_cast<char>(flipped[i] ^ 1);
    expect_corrupt(good, flipped);
  }
  expect_corrupt(good, std::string_view(sealed.bytes).substr(1));
  PackedBlob other = good;
  other.handle.id = Hash("other");
  expect_corrupt(other, sealed.bytes);
  for (uint32_t lie : {4999U, 5001U, 0U, 1U, 0xffffffffU, uint32_t{kMaxDataBlob} + 1}) {
    PackedBlob lying = good;
    lying.raw_length = lie;
    expect_corrupt(lying, sealed.bytes);
  }
}

TEST(PackHeader, RoundTrip) {
  Key key = Key::Random();
  Pack pack = MakePack(key, {"a", std::string(1000, 'b'), std::string(2000, 'c'), "", Noise(100)});
  auto bytes = PackHeaderBytes(std::string_view(pack.bytes).substr(pack.bytes.size() - 4),
                               pack.bytes.size());
  ASSERT_TRUE(bytes);
  // As little of the pack as needed, some of it, all of it.
  for (size_t tail : {*bytes, *bytes + 20, pack.bytes.size()}) {
    EXPECT_EQ(DecodePackHeader(key, std::string_view(pack.bytes).substr(pack.bytes.size() - tail),
                               pack.bytes.size()),
              pack.blobs);
  }
  EXPECT_FALSE(DecodePackHeader(
      key, std::string_view(pack.bytes).substr(pack.bytes.size() - *bytes + 1), pack.bytes.size()));
}

TEST(PackHeader, DamageIsFound) {
  Key key = Key::Random();
  Pack pack = MakePack(key, {"some", "blobs", std::string(1000, 'x')});
  auto decode = [&](const std::string& bytes) {
    return Reason(DecodePackHeader(key, bytes, bytes.size()));
  };
  size_t header = pack.bytes.size() - pack.blobs.back().offset - pack.blobs.back().length;
  for (size_t i = pack.bytes.size() - header; i < pack.bytes.size(); ++i) {
    std::string flipped = pack.bytes;
    flipped[i] = static_cast<char>(flipped[i] ^ 1);
    EXPECT_EQ(decode(flipped), "REPOSITORY_CORRUPT") << i;
  }
  for (size_t size = 0; size < pack.bytes.size(); ++size) {
    EXPECT_EQ(decode(pack.bytes.substr(0, size)), "REPOSITORY_CORRUPT") << size;
  }
  EXPECT_EQ(decode(pack.bytes.substr(1)), "REPOSITORY_CORRUPT");
  EXPECT_EQ(decode("x" + pack.bytes), "REPOSITORY_CORRUPT");
  EXPECT_EQ(Reason(DecodePackHeader(Key::Random(), pack.bytes, pack.bytes.size())),
            "REPOSITORY_CORRUPT");
}

TEST(PackHeader, LengthsThatCannotBe) {
  for (uint32_t length : {0U, 31U, 68U, 1000U, uint32_t{kMaxPackHeader}, 0xffffffffU}) {
    auto last = std::bit_cast<std::array<char, 4>>(length);
    EXPECT_FALSE(PackHeaderBytes({last.data(), 4}, 1000)) << length;
  }
  EXPECT_FALSE(PackHeaderBytes("abc", 1000));
}

TEST(Index, RoundTrip) {
  Key key = Key::Random();
  IndexFile index{.supersedes = {Hash("old")}, .packs = {}};
  for (const char* name : {"p1", "p2"}) {
    Pack pack = MakePack(key, {name, std::string(1000, 'b'), std::string(2000, 'c'), Noise(100)});
    index.packs.push_back({.pack = Hash(name), .blobs = pack.blobs});
  }
  size_t seen = 0;
  ASSERT_TRUE(DecodeIndex(EncodeIndex(index), [&](IndexedPack pack) -> Result<void> {
    EXPECT_EQ(pack.pack, index.packs[seen].pack);
    EXPECT_EQ(pack.blobs, index.packs[seen].blobs);
    ++seen;
    return {};
  }));
  EXPECT_EQ(seen, 2U);
}

const char kId[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

std::string IndexJson(std::string blob) {
  size_t at = blob.find("ID");
  if (at != std::string::npos) blob.replace(at, 2, kId);
  return std::string(R"({"packs":[{"id":")") + kId + R"(","blobs":[)" + blob + "]}]}";
}

TEST(Index, OtherOrderAndUnknownMembers) {
  std::string json =
      std::string(R"( {"future":[{"packs":[1,{"id":"x"}]},null,1.5,"s"],"x":"y",)") +
      R"("packs":[{"blobs":[{"length":40,"offset":7,"new":{"a":[1]},"type":"tree",)" +
      R"("i\u0064":")" + kId + R"("}],"more":-1,"id":")" + kId + R"("},{"id":")" + kId +
      R"(","blobs":null}],"supersedes":null} )" + "\n";
  std::vector<IndexedPack> packs;
  auto decoded = DecodeIndex(json, [&](IndexedPack pack) -> Result<void> {
    packs.push_back(std::move(pack));
    return {};
  });
  ASSERT_TRUE(decoded) << decoded.error().message;
  ASSERT_EQ(packs.size(), 2U);
  ASSERT_EQ(packs[0].blobs.size(), 1U);
  EXPECT_EQ(packs[0].pack.Hex(), kId);
  EXPECT_EQ(packs[0].blobs[0], (PackedBlob{.handle = {.type = BlobType::kTree, .id = *ParseId(kId)},
                                           .offset = 7,
                                           .length = 40}));
  EXPECT_TRUE(packs[1].blobs.empty());
}

TEST(Index, BadOnes) {
  auto ignore = [](IndexedPack) -> Result<void> { return {}; };
  ASSERT_TRUE(
      DecodeIndex(IndexJson(R"({"id":"ID","type":"data","offset":0,"length":32})"), ignore));
  for (const char* blob :
       {R"({"id":"ID","type":"data","offset":0})",
        R"({"id":"ID","type":"data","length":40})",
        R"({"type":"data","offset":0,"length":40})",
        R"({"id":"ID","offset":0,"length":40})",
        R"({"id":"x","type":"data","offset":0,"length":40})",
        R"({"id":"IDa","type":"data","offset":0,"length":40})",
        R"({"id":"ID","type":"lob","offset":0,"length":40})",
        R"({"id":"ID","type":"data","offset":0,"length":31})",
        R"({"id":"ID","type":"data","offset":-1,"length":40})",
        R"({"id":"ID","type":"data","offset":0.5,"length":40})",
        R"({"id":"ID","type":"data","offset":"0","length":40})",
        R"({"id":"ID","type":"data","offset":536870912,"length":40})",
        R"({"id":"ID","type":"data","offset":4294967296,"length":40})",
        R"({"id":"ID","type":"data","offset":0,"length":536870913})",
        R"({"id":"ID","type":"data","offset":0,"length":33554465})",
        R"({"id":"ID","type":"data","offset":0,"length":40,"uncompressed_length":33554433})",
        R"({"id":["ID"],"type":"data","offset":0,"length":40})",
        "1",
        "[]",
        "\"x\"",
        "null"}) {
    EXPECT_EQ(Reason(DecodeIndex(IndexJson(blob), ignore)), "REPOSITORY_CORRUPT") << blob;
  }
  std::string good = IndexJson("");
  for (const std::string& json :
       {std::string(), std::string("[]"), std::string("1"), std::string("null"), good + "x",
        std::string(R"({"packs":{}})"), std::string(R"({"packs":[1]})"),
        std::string(R"({"packs":[{"blobs":[]}]})"), std::string(R"({"packs":[[]]})"),
        good.substr(0, good.size() - 1), R"({"a":)" + std::string(100'000, '[')}) {
    EXPECT_EQ(Reason(DecodeIndex(json, ignore)), "REPOSITORY_CORRUPT") << json.substr(0, 99);
  }
}

TEST(Index, WhatItsCallerSaysGoesUp) {
  auto failed = DecodeIndex(IndexJson(""), [](IndexedPack) -> Result<void> {
    return Fail(Code::kResourceExhausted, "too many", "TOO_MANY");
  });
  EXPECT_EQ(Reason(failed), "TOO_MANY");
}

}  // namespace
}  // namespace atl::repository
