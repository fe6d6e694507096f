// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <array>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "crypto/aes.h"
#include "crypto/base64.h"
#include "crypto/bytes.h"
#include "crypto/hmac.h"
#include "crypto/scrypt.h"
#include "crypto/sha256.h"

namespace atl::crypto {
namespace {

TEST(Sha256, KnownAnswers) {
  EXPECT_EQ(Sha256Hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Sha256, PiecesMakeTheSameHash) {
  std::string data(1'000'000, 'a');
  Sha256 hash;
  for (size_t at = 0; at < data.size(); at += 4093) {
    hash.Update(std::string_view(data).substr(at, 4093));
  }
  EXPECT_EQ(hash.FinishHex(), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, OneShotFromSeveralThreads) {
  std::vector<std::jthread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([] {
      for (int i = 0; i < 1000; ++i) {
        std::string data(static_cast<size_t>(i), 'x');
        Sha256 pieces;
        pieces.Update(data);
        EXPECT_EQ(Sha256Of(data), pieces.Finish());
      }
    });
  }
}

// RFC 4231, cases 1, 2 and 6.
TEST(Hmac, KnownAnswers) {
  EXPECT_EQ(Hex(HmacSha256(std::string(20, '\x0b'), "Hi There")),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
  EXPECT_EQ(Hex(HmacSha256("Jefe", "what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  EXPECT_EQ(Hex(HmacSha256(std::string(131, '\xaa'),
                           "Test Using Larger Than Block-Size Key - Hash Key First")),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

template <size_t N>
std::array<unsigned char, N> FromHex(std::string_view hex) {
  std::array<unsigned char, N> bytes{};
  for (size_t i = 0; i < N; ++i) {
    bytes[i] =
        static_cast<unsigned char>(std::stoi(std::string(hex.substr(2 * i, 2)), nullptr, 16));
  }
  return bytes;
}

std::string HexOf(std::string_view bytes) {
  return Hex(std::span(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size()));
}

// NIST SP 800-38A, F.5.5.
TEST(Aes, CounterModeKnownAnswer) {
  auto key = FromHex<32>("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4");
  auto iv = FromHex<16>("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff");
  auto plain = FromHex<32>("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51");
  std::string data(reinterpret_cast<const char*>(plain.data()), plain.size());
  const std::string expected = "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5";
  std::string out(data.size(), 0);
  Aes256Ctr(key, iv, data, out.data());
  EXPECT_EQ(HexOf(out), expected);
  Aes256Ctr(key, iv, out, out.data());
  EXPECT_EQ(out, data);
  Aes256CtrStream stream(key, iv);
  for (size_t i = 0; i < data.size(); i += 5) {
    stream.Process(std::string_view(data).substr(i, 5), out.data() + i);
  }
  EXPECT_EQ(HexOf(out), expected);
}

// Appendix B of the paper that describes it.
TEST(Aes, Poly1305KnownAnswers) {
  auto tag = [](const char* k, const char* r, const char* nonce, std::string_view data) {
    return Hex(Poly1305Aes(FromHex<16>(k), FromHex<16>(r), FromHex<16>(nonce), data));
  };
  EXPECT_EQ(tag("ec074c835580741701425b623235add6", "851fc40c3467ac0be05cc20404f3f700",
                "fb447350c4e868c52ac3275cf9d4327e", "\xf3\xf6"),
            "f4c633c3044fc145f84f335cb81953de");
  EXPECT_EQ(tag("75deaa25c09f208e1dc4ce6b5cad3fbf", "a0f3080000f46400d0c7e9076c834403",
                "61ee09218d29b0aaed7e154a2c5509cc", ""),
            "dd3fab2251f11ac759f0887129cc2ee7");
}

// RFC 7914, section 12.
TEST(Scrypt, KnownAnswer) {
  std::array<unsigned char, 64> out{};
  ASSERT_TRUE(Scrypt("pleaseletmein", "SodiumChloride", 16384, 8, 1, out));
  EXPECT_EQ(Hex(out),
            "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"
            "d5432955613f0fcf62d49705242a9af9e61e85dc0d651e40dfcf017b45575887");
  EXPECT_FALSE(Scrypt("password", "salt", 1000, 8, 1, out));
}

// RFC 4648, section 10.
TEST(Base64, KnownAnswers) {
  const std::pair<const char*, const char*> cases[] = {{"", ""},
                                                       {"f", "Zg=="},
                                                       {"fo", "Zm8="},
                                                       {"foo", "Zm9v"},
                                                       {"foob", "Zm9vYg=="},
                                                       {"fooba", "Zm9vYmE="},
                                                       {"foobar", "Zm9vYmFy"},
                                                       {"\xff\xfe", "//4="}};
  for (auto [bytes, text] : cases) {
    EXPECT_EQ(Base64Encode(bytes), text);
    EXPECT_EQ(Base64Decode(text), bytes);
  }
}

TEST(Base64, OtherTextIsRefused) {
  for (const char* text :
       {"Zg", "Zg=", "Z===", "====", "Zh==", "Zg==Zg==", "Zm 8", "Zm8-", "=Zm8"}) {
    EXPECT_EQ(Base64Decode(text), std::nullopt) << text;
  }
}

TEST(Bytes, Hex) {
  const unsigned char bytes[] = {0x00, 0x0f, 0xa5, 0xff};
  EXPECT_EQ(Hex(bytes), "000fa5ff");
  EXPECT_TRUE(IsHex("000fa5ff", 8));
  EXPECT_FALSE(IsHex("000fa5ff", 7));
  EXPECT_FALSE(IsHex("000FA5FF", 8));
  EXPECT_FALSE(IsHex("000fa5f/", 8));
  EXPECT_TRUE(IsHex("", 0));
}

TEST(Bytes, RandomDoesNotRepeat) {
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) {
    std::string token = RandomHex(8);
    EXPECT_TRUE(IsHex(token, 16));
    EXPECT_TRUE(seen.insert(token).second);
  }
}

TEST(Bytes, ConstantTimeEqual) {
  EXPECT_TRUE(ConstantTimeEqual("", ""));
  EXPECT_TRUE(ConstantTimeEqual("secret", "secret"));
  EXPECT_FALSE(ConstantTimeEqual("secret", "secreT"));
  EXPECT_FALSE(ConstantTimeEqual("secret", "secret "));
}

}  // namespace
}  // namespace atl::crypto
