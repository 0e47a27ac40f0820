// The suite of all loops (base/loop/conformance.h), on virtual time.
#include "base/loop/conformance.h"
#include "base/loop/sim/world.h"

namespace moraine::sim {
namespace {

class SimHarness final : public LoopHarness {
 public:
  explicit SimHarness(uint64_t seed) : world_(seed), machine_(world_.AddMachine("a")) {
    machine_.Start();
    Machine& silent = world_.AddMachine("silent");
    silent.PowerCut();
    Run([this]() -> Task<void> {
      EXPECT_TRUE((co_await loop().disk().MakeDirectory(directory())).ok());
    });
  }

  Loop& loop() override { return machine_.loop(); }
  void Run(std::function<Task<void>()> body) override {
    SCOPED_TRACE(world_.Describe());
    if (!world_.Await(machine_.loop(), Call(body), 1h)) ADD_FAILURE() << world_.Trace();
  }
  std::string host() override { return machine_.name(); }
  Endpoint silent() override { return {"silent", 1}; }
  std::string directory() override { return "/files"; }
  bool has_threads() override { return false; }

 private:
  // The body stays in this frame while its coroutine uses what it captures.
  static Task<void> Call(std::function<Task<void>()> body) { co_await body(); }

  World world_;
  Machine& machine_;
};

template <uint64_t seed>
std::unique_ptr<LoopHarness> Make() {
  return std::make_unique<SimHarness>(seed);
}

INSTANTIATE_TEST_SUITE_P(Sim, LoopConformance, testing::Values(&Make<1>, &Make<2>, &Make<3>));
INSTANTIATE_TEST_SUITE_P(Sim, DiskConformance, testing::Values(&Make<1>, &Make<2>, &Make<3>));

}  // namespace
}  // namespace moraine::sim
