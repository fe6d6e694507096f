// SPDX-License-Identifier: Apache-2.0
// Large trees: bounded memory, and speed beside restic and mksquashfs. The measurements are for
// reading, not for every run: --gtest_also_run_disabled_tests.
#include <sys/resource.h>

#include <fstream>
#include <iostream>

#include "snapshot/backup_fixture_test.h"

namespace atl::snapshot {
namespace {

using testing::Lt;

long MaxRssMb() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss / 1024;
}

// Makes the peak count from now on.
void ResetPeak() { std::ofstream("/proc/self/clear_refs") << "5"; }
long PeakMb() {
  std::string status = agent::Slurp("/proc/self/status");
  return std::atol(status.c_str() + status.find("VmHWM:") + 6) / 1024;
}

// Text that compresses about as source code does.
std::string Source(size_t size, std::mt19937& random) {
  static const char* const kWords[] = {"function", "return",    "const",     "exports", "require",
                                       "this",     "prototype", "undefined", "module",  "value",
                                       "options",  "callback",  "length",    "if",      "else",
                                       "throw",    "new Error"};
  std::string text;
  text.reserve(size + 32);
  while (text.size() < size) {
    text += random() % 3 == 0 ? "_" + std::to_string(random() % 100000)
                              : kWords[random() % std::size(kWords)];
    text += " \n.(){};,="[random() % 10];
  }
  text.resize(size);
  return text;
}

class BackupBench : public BackupTest {
 protected:
  // Like node_modules: 20,000 files of 10 KB on average, 200 MB.
  // ATOLL_BENCH_TREE: one that is there already.
  void MakeTree() {
    if (const char* tree = std::getenv("ATOLL_BENCH_TREE")) {
      work_ = tree;
      if (fs::exists(work_)) return;
    }
    std::mt19937 random(1);
    for (int package = 0; package < 1000; ++package) {
      fs::path dir = work_ / ("package" + std::to_string(package));
      fs::create_directories(dir / "lib");
      for (int i = 0; i < 20; ++i) {
        size_t size = random() % 20 == 0 ? random() % 150'000 : random() % 14'000;
        Write((i % 2 == 0 ? dir : dir / "lib") / ("file" + std::to_string(i) + ".js"),
              Source(size, random));
      }
    }
  }
  double Seconds(const std::function<void()>& work) {
    auto began = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  }
  // What this process and the agent's children have used.
  double CpuSeconds() const {
    std::istringstream stat(agent::Slurp("/proc/" + std::to_string(agent_) + "/stat"));
    std::string word;
    double ticks = 0;
    for (int field = 1; field <= 17 && stat >> word; ++field) {
      if (field >= 14) ticks += std::atof(word.c_str());
    }
    rusage own{};
    getrusage(RUSAGE_SELF, &own);
    return ticks / static_cast<double>(sysconf(_SC_CLK_TCK)) +
           static_cast<double>(own.ru_utime.tv_sec + own.ru_stime.tv_sec) +
           static_cast<double>(own.ru_utime.tv_usec + own.ru_stime.tv_usec) / 1e6;
  }
  void Print(const std::string& what, const BackupResult& result) {
    std::cout << what << ": " << result.duration_ms << " ms;";
    for (const auto& [phase, ms] : result.phases) std::cout << " " << phase << " " << ms;
    std::cout << "; read " << result.files_changed << " of " << result.files << ", added "
              << result.bytes_added / 1024 << " KiB, requests " << result.store_requests
              << ", freeze " << result.freeze_ms << " ms, peak " << PeakMb() << " MB, processor "
              << CpuSeconds() - cpu_ << " s\n";
    cpu_ = CpuSeconds();
    ResetPeak();
  }
  double cpu_ = 0;
  void Touch(int round) {
    for (int i = 0; i < 10; ++i) {
      Write(work_ / ("package" + std::to_string(i * 97 + 5)) / "file2.js",
            "changed " + std::to_string(round * 100 + i));
    }
  }
};

TEST_F(BackupBench, DISABLED_NodeModules) {
  MakeTree();
  sync();
  ResetPeak();
  cpu_ = CpuSeconds();
  Print("first", Take());
  for (int i = 0; i < 5; ++i) Print("nothing changed", Take());
  for (int i = 0; i < 5; ++i) {
    Touch(i);
    Print("10 changed", Take());
  }
  BackupOptions frozen = Options();
  frozen.freeze = [](bool) { return Result<void>(); };
  Touch(9);
  Print("10 changed, frozen", Take(frozen));
  Open();
  Print("trees not in memory", Take());
  if (HasRestic()) {
    std::string other = (dir_ / "other").string();
    auto run = [&](const std::string& command) {
      std::string whole = "RESTIC_PASSWORD=x restic -q --no-cache -r '" + other + "' " + command;
      EXPECT_EQ(std::system(whole.c_str()), 0);
    };
    run("init");
    auto take = [&] { run("backup '" + work_.string() + "'"); };
    std::cout << "restic first " << Seconds(take) << " s\n";
    std::cout << "restic nothing changed " << Seconds(take) << " s\n";
    Touch(20);
    std::cout << "restic 10 changed " << Seconds(take) << " s\n";
  }
  if (std::system("mksquashfs -version >/dev/null 2>&1") == 0) {
    std::string command = "mksquashfs '" + work_.string() + "' '" + (dir_ / "image").string() +
                          "' -comp lz4 -no-progress -quiet";
    std::cout << "mksquashfs " << Seconds([&] { EXPECT_EQ(std::system(command.c_str()), 0); })
              << " s\n";
  }
}

TEST_F(BackupBench, DISABLED_First) {
  MakeTree();
  cpu_ = CpuSeconds();
  BackupOptions options = Options();
  if (const char* workers = std::getenv("ATOLL_BENCH_WORKERS")) options.workers = atoi(workers);
  Print("first", Take(options));
  Print("again", Take(options));
}

TEST_F(BackupBench, DISABLED_OneLargeFile) {
  std::string piece = Noise(64 << 20, 1);
  {
    std::ofstream out(work_ / "large", std::ios::binary);
    for (int i = 0; i < 16; ++i) {
      piece[0] = static_cast<char>(i);
      std::rotate(piece.begin(), piece.begin() + 12'345, piece.end());
      out << piece;
    }
  }
  piece = {};
  ResetPeak();
  Print("1 GiB", Take());
  std::fstream(work_ / "large").seekp(500 << 20) << Noise(1 << 20, 77);
  BackupResult second = Take();
  Print("1 MiB changed", second);
  EXPECT_THAT(second.bytes_added, Lt(8U << 20));
}

TEST_F(BackupBench, DISABLED_AMillionFilesInOneDirectory) {
  for (int i = 0; i < 1'000'000; ++i) {
    close(open((work_ / ("f" + std::to_string(i))).c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
  }
  ResetPeak();
  Print("first", Take());
  Print("again", Take());
  Write(work_ / "f500000", "changed");
  Print("one changed", Take());
  EXPECT_LT(MaxRssMb(), 600);
}

TEST_F(BackupBench, DISABLED_AThousandDirectoriesOfAThousand) {
  for (int dir = 0; dir < 1000; ++dir) {
    fs::path path = work_ / std::to_string(dir);
    fs::create_directory(path);
    for (int i = 0; i < 1000; ++i) {
      close(open((path / ("f" + std::to_string(i))).c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
    }
  }
  ResetPeak();
  Print("first", Take());
  Print("again", Take());
  Write(work_ / "500/f500", "changed");
  Print("one changed", Take());
  EXPECT_LT(MaxRssMb(), 256);
}

}  // namespace
}  // namespace atl::snapshot
