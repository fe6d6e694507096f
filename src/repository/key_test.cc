// SPDX-License-Identifier: Apache-2.0
#include "repository/key.h"

#include <gtest/gtest.h>

#include <bit>
#include <string>

#include "repository/chunker.h"

namespace atl::repository {
namespace {

constexpr ScryptParams kCheap{.n = 16, .r = 1, .p = 1};

std::string Reason(const auto& result) {
  return result ? "no error" : std::string(ReasonOf(result.error()));
}

std::string With(std::string text, const std::string& from, const std::string& to) {
  size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(Key, SealsAndOpens) {
  Key key = Key::Random();
  for (size_t size : {0, 1, 15, 16, 17, 1000, 300'000}) {
    std::string plain(size, 'p');
    std::string sealed = "before";
    key.Seal(plain, sealed);
    ASSERT_EQ(sealed.size(), 6 + size + kSealOverhead);
    std::string_view body = std::string_view(sealed).substr(6);

    std::string opened = "kept ";
    ASSERT_TRUE(key.Open(body, opened));
    EXPECT_EQ(opened, "kept " + plain);
    std::string pieces;
    ASSERT_TRUE(key.OpenTo(body, [&](std::string_view piece) -> Result<void> {
      pieces += piece;
      return {};
    }));
    EXPECT_EQ(pieces, plain);

    std::string in_place(kSealRoom, 0);
    in_place += plain;
    key.SealInPlace(in_place);
    opened.clear();
    ASSERT_TRUE(key.Open(in_place, opened));
    EXPECT_EQ(opened, plain);
  }
}

TEST(Key, TheSamePlaintextNeverLooksTheSame) {
  Key key = Key::Random();
  std::string a;
  std::string b;
  key.Seal("text", a);
  key.Seal("text", b);
  EXPECT_NE(a, b);
}

TEST(Key, EveryFlippedBitIsFound) {
  Key key = Key::Random();
  std::string sealed;
  key.Seal("some text", sealed);
  std::string out;
  for (size_t i = 0; i < sealed.size() * 8; ++i) {
    std::string flipped = sealed;
    flipped[i / 8] = static_cast<char>(flipped[i / 8] ^ (1 << (i % 8)));
    EXPECT_EQ(Reason(key.Open(flipped, out)), "CIPHERTEXT_CORRUPT") << i;
    EXPECT_FALSE(key.OpenTo(flipped, [](std::string_view) -> Result<void> {
      ADD_FAILURE() << "nothing that is not authentic is given away";
      return {};
    }));
  }
  for (size_t size = 0; size < sealed.size(); ++size) {
    EXPECT_FALSE(key.Open(std::string_view(sealed).substr(0, size), out));
  }
  EXPECT_FALSE(Key::Random().Open(sealed, out));
  EXPECT_EQ(out, "");
}

TEST(Key, JsonRoundTrip) {
  Key key = Key::Random();
  auto again = Key::FromJson(key.ToJson());
  ASSERT_TRUE(again);
  std::string sealed;
  std::string opened;
  key.Seal("text", sealed);
  ASSERT_TRUE(again->Open(sealed, opened));
  EXPECT_EQ(opened, "text");
}

TEST(Key, BadJson) {
  std::string json = Key::Random().ToJson();
  for (const std::string& bad :
       {std::string(), std::string("{}"), std::string("[]"), std::string(R"({"mac":1})"),
        With(json, "\"k\"", "\"q\""), With(json, "\"encrypt\":\"", "\"encrypt\":\"AAAA"),
        With(json, "==", "=x"), Key().ToJson(), std::string(200'000, '[')}) {
    EXPECT_EQ(Reason(Key::FromJson(bad)), "REPOSITORY_CORRUPT") << bad.substr(0, 80);
  }
}

TEST(KeyFile, OnlyThePasswordOpensIt) {
  Key master = Key::Random();
  KeyFile made = KeyFile::Make(master, "secret", kCheap);
  auto read = KeyFile::FromJson(made.ToJson());
  ASSERT_TRUE(read);
  EXPECT_EQ(read->hostname, made.hostname);
  EXPECT_EQ(read->username, made.username);
  EXPECT_EQ(read->created, made.created);
  auto key = read->Unlock("secret");
  ASSERT_TRUE(key);
  EXPECT_EQ(key->ToJson(), master.ToJson());
  for (const char* wrong : {"", "Secret", "secret "}) {
    auto refused = read->Unlock(wrong);
    EXPECT_EQ(Reason(refused), "REPOSITORY_PASSWORD_WRONG");
    EXPECT_EQ(refused.error().code, Code::kPermissionDenied);
  }
}

TEST(KeyFile, HostileFiles) {
  std::string json = KeyFile::Make(Key::Random(), "secret", kCheap).ToJson();
  for (const std::string& bad :
       {With(json, "\"N\":16", "\"N\":1073741824"), With(json, "\"N\":16", "\"N\":17"),
        With(json, "\"N\":16", "\"N\":0"), With(json, "\"N\":16", "\"N\":-16"),
        With(json, "\"N\":16", "\"N\":\"16\""), With(json, "\"r\":1", "\"r\":1000000"),
        With(json, "\"p\":1", "\"p\":4294967295"), With(json, "\"p\":1", "\"p\":0"),
        With(json, "\"p\":1", "\"p\":99999999999999999999"), With(json, "scrypt", "argon2"),
        With(json, "\"salt\":\"", "\"salt\":\"AAAA"), With(json, "\"data\":\"", "\"data\":\"!"),
        With(json, "\"data\"", "\"date\""), json.substr(0, 100), std::string("null")}) {
    EXPECT_EQ(Reason(KeyFile::FromJson(bad)), "REPOSITORY_CORRUPT") << bad;
  }
}

TEST(RepositoryConfig, RoundTrip) {
  RepositoryConfig config = RepositoryConfig::Random();
  auto read = RepositoryConfig::FromJson(config.ToJson());
  ASSERT_TRUE(read);
  EXPECT_EQ(read->version, 2U);
  EXPECT_EQ(read->id, config.id);
  EXPECT_EQ(read->chunker_polynomial, config.chunker_polynomial);
  EXPECT_TRUE(IsIrreducible(read->chunker_polynomial));
}

TEST(RepositoryConfig, BadOnes) {
  const std::string good =
      R"({"version":2,"id":"5956a3f67a6230d4a92cefb29529f10196c7d92582ec305fd71ff6d331d6271b",)"
      R"("chunker_polynomial":"25b468838dcb75"})";
  ASSERT_TRUE(RepositoryConfig::FromJson(good));
  EXPECT_EQ(Reason(RepositoryConfig::FromJson(With(good, ":2,", ":1,"))), "REPOSITORY_VERSION");
  EXPECT_EQ(Reason(RepositoryConfig::FromJson(With(good, ":2,", ":3,"))), "REPOSITORY_VERSION");
  for (const std::string& bad :
       {With(good, "\"version\":2,", ""), With(good, "5956", "595g"), With(good, "5956", "595"),
        With(good, "cb75", "cb74"), With(good, "25b4", "5b4"), With(good, "25b4", "025b4g"),
        With(good, "25b468838dcb75", ""), With(good, "25b4", "ffff25b4")}) {
    EXPECT_EQ(Reason(RepositoryConfig::FromJson(bad)), "REPOSITORY_CORRUPT") << bad;
  }
}

TEST(Unpacked, RoundTripAndBounds) {
  std::string json = "{" + std::string(100'000, ' ') + "}";
  std::string encoded = EncodeUnpacked(json);
  EXPECT_LT(encoded.size(), 200U);
  EXPECT_EQ(encoded[0], 2);
  EXPECT_EQ(DecodeUnpacked(encoded, json.size()), json);
  EXPECT_EQ(DecodeUnpacked(json, json.size()), json);
  EXPECT_EQ(DecodeUnpacked("[]", 10), "[]");
  EXPECT_EQ(Reason(DecodeUnpacked(encoded, json.size() - 1)), "REPOSITORY_CORRUPT");
  EXPECT_EQ(Reason(DecodeUnpacked(json, json.size() - 1)), "REPOSITORY_CORRUPT");
  // Two frames one behind the other are bounded together.
  std::string twice = encoded + encoded.substr(1);
  EXPECT_EQ(DecodeUnpacked(twice, 2 * json.size()), json + json);
  EXPECT_EQ(Reason(DecodeUnpacked(twice, 2 * json.size() - 1)), "REPOSITORY_CORRUPT");
}

TEST(Unpacked, Damaged) {
  std::string encoded = EncodeUnpacked(R"({"time":"now","tree":"none"})");
  EXPECT_EQ(Reason(DecodeUnpacked("", 100)), "REPOSITORY_CORRUPT");
  EXPECT_EQ(Reason(DecodeUnpacked("\x01{}", 100)), "REPOSITORY_CORRUPT");
  for (size_t size = 2; size < encoded.size(); ++size) {
    EXPECT_EQ(Reason(DecodeUnpacked(encoded.substr(0, size), 100)), "REPOSITORY_CORRUPT") << size;
  }
}

}  // namespace
}  // namespace atl::repository
