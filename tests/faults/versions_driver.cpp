// A value that some threads read while others replace it: no reader sees half of one, or an older one than before.
#include <atomic>
#include <cstdio>
#include <thread>
#include <vector>

#include "cpu/versions.hpp"

namespace {

constexpr int kReaders = 3, kWrites = 20000;
using Numbers = std::vector<int>;
// Lets other threads run before one operation in 16, in windows of a few instructions that they would seldom meet.
template <class T>
struct Yielding : std::atomic<T> {
  using Base = std::atomic<T>;
  using Base::Base;

  static void pause() {
    thread_local unsigned drawn = static_cast<unsigned>(reinterpret_cast<std::size_t>(&drawn));
    drawn = drawn * 1664525u + 1013904223u;
    if ((drawn >> 28) == 0) std::this_thread::yield();
  }

  T load() const {
    pause();
    return Base::load();
  }
  void store(T x) {
    pause();
    Base::store(x);
    pause();
  }
  T fetch_sub(T x) {
    pause();
    return Base::fetch_sub(x);
  }
  T fetch_add(T x) {
    pause();
    return Base::fetch_add(x);
  }
  bool compare_exchange_weak(T& expected, T x) {
    pause();
    return Base::compare_exchange_weak(expected, x);
  }
  bool compare_exchange_strong(T& expected, T x) {
    pause();
    return Base::compare_exchange_strong(expected, x);
  }
};

gtp::Versions<Numbers, Yielding> versions;
std::atomic<int> made{0}, wrong{0};
std::atomic<bool> over{false};

void write(int number) {
  const auto make = [] {
    ++made;
    return Numbers(8, 0);
  };
  versions.write(make, [number](Numbers& numbers) {
    for (int& one : numbers) one = number;
  });
}

// The newest number; counts what is wrong.
int newest() {
  const auto reading = versions.read();
  const int first = (*reading)[0];
  for (const int one : *reading) wrong += one != first;
  return first;
}

void watch(bool rising) {
  for (int last = 0; !over.load();) {
    const int now = newest();
    wrong += rising && now < last;
    last = now;
  }
}

// Some read while `writers` write.
void run(int writers) {
  over = false;
  std::vector<std::thread> readers, others;
  for (int r = 0; r < kReaders; ++r) readers.emplace_back(watch, writers == 1);
  for (int w = 0; w < writers; ++w)
    others.emplace_back([] {
      for (int i = 1; i <= kWrites; ++i) write(i);
    });
  for (std::thread& other : others) other.join();
  over = true;
  for (std::thread& reader : readers) reader.join();
}

}  // namespace

int main() {
  bool right = !versions.read();
  write(0);
  {
    // What is being read stays as it is, and keeps nobody from writing.
    const auto reading = versions.read();
    for (int i = 1; i <= 3; ++i) write(i);
    right = right && (*reading)[0] == 0 && newest() == 3 && made == 3;
  }
  write(0);
  run(1);
  right = right && newest() == kWrites;
  run(2);
  // About as many versions as there are threads, and not one for each write.
  right = right && newest() == kWrites && wrong == 0 && made < 100;
  if (!right) std::printf("%d wrong, %d made\n", wrong.load(), made.load());
  std::printf("%s\n", right ? "right" : "WRONG");
  return right ? 0 : 1;
}
