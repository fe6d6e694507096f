// SPDX-License-Identifier: Apache-2.0
#include "repository/names.h"

#include <gtest/gtest.h>

namespace atl::repository {
namespace {

TEST(Id, HexAndBack) {
  Id id = Hash("abc");
  EXPECT_EQ(id.Hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(id.Short(), "ba7816bf");
  auto parsed = ParseId(id.Hex());
  ASSERT_TRUE(parsed);
  EXPECT_EQ(*parsed, id);
  EXPECT_FALSE(id.IsNull());
  EXPECT_TRUE(Id().IsNull());
}

TEST(Id, OtherTextIsRefused) {
  std::string hex = Hash("abc").Hex();
  EXPECT_FALSE(ParseId(""));
  EXPECT_FALSE(ParseId(hex.substr(1)));
  EXPECT_FALSE(ParseId(hex + "0"));
  EXPECT_FALSE(ParseId("B" + hex.substr(1)));
  EXPECT_FALSE(ParseId("g" + hex.substr(1)));
  EXPECT_FALSE(ParseId(" " + hex.substr(1)));
}

TEST(Names, KeysAreThoseOfRestic) {
  Id id = Hash("abc");
  std::string hex = id.Hex();
  EXPECT_EQ(KeyOf(FileType::kConfig), "config");
  EXPECT_EQ(KeyOf(FileType::kData, id), "data/ba/" + hex);
  EXPECT_EQ(KeyOf(FileType::kIndex, id), "index/" + hex);
  EXPECT_EQ(KeyOf(FileType::kKey, id), "keys/" + hex);
  EXPECT_EQ(KeyOf(FileType::kLock, id), "locks/" + hex);
  EXPECT_EQ(KeyOf(FileType::kSnapshot, id), "snapshots/" + hex);
}

TEST(Names, KeysRoundTrip) {
  for (FileType type : {FileType::kConfig, FileType::kData, FileType::kIndex, FileType::kKey,
                        FileType::kLock, FileType::kSnapshot}) {
    Id id = type == FileType::kConfig ? Id() : Hash("x");
    std::string key = KeyOf(type, id);
    EXPECT_TRUE(key.starts_with(PrefixOf(type)));
    auto parsed = ParseKey(key);
    ASSERT_TRUE(parsed) << key;
    EXPECT_EQ(parsed->type, type);
    EXPECT_EQ(parsed->id, id);
    EXPECT_FALSE(ParseArchiveKey(key));
  }
  std::string archive = ArchiveKey(Hash("x"));
  EXPECT_EQ(archive, "archives/" + Hash("x").Hex() + ".tar.zst");
  EXPECT_EQ(ParseArchiveKey(archive), Hash("x"));
  EXPECT_FALSE(ParseKey(archive));
}

TEST(Names, KeysOfOthers) {
  std::string hex = Hash("x").Hex();
  for (const std::string& key :
       std::vector<std::string>{"", "configs", "config/", "data/" + hex, "data/00/" + hex,
                                "data/" + hex.substr(0, 2) + "/", "index/" + hex + ".tmp", "index/",
                                "index/" + hex.substr(2), "/index/" + hex, "keys/" + hex + "/x",
                                "tmp/" + hex, "archives/" + hex}) {
    EXPECT_FALSE(ParseKey(key)) << key;
    EXPECT_FALSE(ParseArchiveKey(key)) << key;
  }
}

TEST(Tags, RoundTrip) {
  Tags tags{.sandbox = "demo",
            .dir = "/work,space/100%\n",
            .name = "before \xc3\xa4nderung",
            .trigger = Trigger::kStop,
            .expires_at = 1'900'000'000,
            .pinned = true,
            .frozen = true,
            .edition = 1'900'000'000'123'456'789,
            .labels = {"mine", "other=thing"}};
  auto encoded = EncodeTags(tags);
  EXPECT_EQ(encoded, (std::vector<std::string>{"sandbox=demo", "dir=/work%2Cspace/100%25%0A",
                                               "name=before \xc3\xa4nderung", "trigger=stop",
                                               "expires=1900000000", "pinned", "frozen", "mine",
                                               "other=thing", "edition=1900000000123456789"}));
  EXPECT_EQ(DecodeTags(encoded), tags);
}

TEST(Tags, OneEditionTakesThePlaceOfAnother) {
  const Tags tags{.sandbox = "a", .edition = 5, .labels = {"mine", "edition=x"}};
  Tags next = tags;
  next.edition = 7;
  EXPECT_EQ(WithEdition(EncodeTags(tags), 7), EncodeTags(next));
  next.edition = 0;
  EXPECT_EQ(WithEdition(EncodeTags(tags), 0), EncodeTags(next));
}

TEST(Tags, BytesThatAreNotUtf8) {
  Tags tags{.sandbox = "a", .dir = "/\xff\xc3"};
  EXPECT_EQ(EncodeTags(tags)[1], "dir=/%FF%C3");
  EXPECT_EQ(DecodeTags(EncodeTags(tags)), tags);
}

TEST(Tags, EveryTrigger) {
  for (Trigger trigger : {Trigger::kManual, Trigger::kStop, Trigger::kStart, Trigger::kInterval}) {
    EXPECT_EQ(ParseTrigger(TriggerName(trigger)), trigger);
    EXPECT_EQ(DecodeTags(EncodeTags({.trigger = trigger})).trigger, trigger);
  }
  EXPECT_FALSE(ParseTrigger("whim"));
}

TEST(Tags, ThoseOfOthersAreKeptAsLabels) {
  std::vector<std::string> strange = {"expires=soon", "expires=12x", "trigger=whim", "sandbox=",
                                      "sandbox=a",    "sandbox=b",   "name=50%",     "name=%zz"};
  Tags tags = DecodeTags(strange);
  EXPECT_EQ(tags.sandbox, "a");
  EXPECT_EQ(tags.name, "50%");
  EXPECT_EQ(tags.expires_at, std::nullopt);
  EXPECT_EQ(tags.trigger, Trigger::kManual);
  EXPECT_EQ(tags.labels, (std::vector<std::string>{"expires=soon", "expires=12x", "trigger=whim",
                                                   "sandbox=", "sandbox=b", "name=%zz"}));
  EXPECT_EQ(DecodeTags(EncodeTags(tags)), tags);
}

}  // namespace
}  // namespace atl::repository
