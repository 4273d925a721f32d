#pragma once

#include "services/feature_store/kept_training.hpp"

#include "common/core/bytes.hpp"

#include <cstdint>
#include <vector>

namespace troupe::feature_store {

/// The bytes of a wire::TrainingPage.
chunk encode_page(std::uint64_t offset, const kept_training::page& from);

/// The bytes of a wire::TrainingListPage.
chunk encode_list(const std::vector<kept_training::entry>& sets, bool last);

/// The bytes of a wire::KeptTraining.
chunk encode_kept(const kept_training::entry& from);

} // namespace troupe::feature_store
