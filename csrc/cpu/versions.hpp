// A value that threads read while others replace it. Nobody waits for a lock: a reader does not keep a writer waiting,
// and a forked child waits for no thread that it lacks.
#pragma once

#include <atomic>
#include <utility>

namespace gtp {

template <class T, template <class> class Atomic = std::atomic>
class Versions {
  static constexpr int kWritten = -1;
  struct Version {
    T value;
    Atomic<int> readers;  // how many, or kWritten; the newest version is never kWritten
    Version* older;
  };

 public:
  // The newest version, unchanged while this lives.
  class Reading {
   public:
    explicit Reading(Version* version) : version_(version) {}  // of which the caller has made itself a reader
    ~Reading() {
      if (version_ != nullptr) version_->readers.fetch_sub(1);
    }
    Reading(const Reading&) = delete;
    Reading& operator=(const Reading&) = delete;
    explicit operator bool() const { return version_ != nullptr; }
    const T& operator*() const { return version_->value; }

   private:
    Version* version_;
  };

  Versions() = default;
  Versions(const Versions&) = delete;
  Versions& operator=(const Versions&) = delete;
  ~Versions() {
    for (Version* v = all_.load(); v != nullptr;) delete std::exchange(v, v->older);
  }

  // False before the first write.
  Reading read() const {
    for (;;) {
      Version* const v = newest_.load();
      if (v == nullptr) return Reading(nullptr);
      // If it is not the newest any more, another is: it may have been written again in between.
      int n = v->readers.load();
      while (n >= 0 && !v->readers.compare_exchange_weak(n, n + 1)) {
      }
      if (n < 0) continue;
      if (v == newest_.load()) return Reading(v);
      v->readers.fetch_sub(1);
    }
  }

  // Calls write(T&), which must not throw, on a version that nobody reads and makes it the newest. It is one that was
  // replaced, or what make() returns if there is none.
  template <class Make, class Write>
  void write(Make&& make, Write&& write) {
    Version* v = unread();
    if (v == nullptr) {
      v = new Version{make(), {kWritten}, all_.load()};
      while (!all_.compare_exchange_weak(v->older, v)) {
      }
    }
    write(v->value);
    v->readers.store(1);  // no other writer takes it before it is the newest
    newest_.store(v);
    v->readers.fetch_sub(1);
  }

 private:
  Version* unread() {
    for (Version* v = all_.load(); v != nullptr; v = v->older) {
      int none = 0;
      if (!v->readers.compare_exchange_strong(none, 1)) continue;
      // As its one reader: it cannot become the newest now. A reader that came in between keeps it.
      int one = 1;
      if (v != newest_.load() && v->readers.compare_exchange_strong(one, kWritten)) return v;
      v->readers.fetch_sub(1);
    }
    return nullptr;
  }

  Atomic<Version*> all_{nullptr}, newest_{nullptr};
};

}  // namespace gtp
