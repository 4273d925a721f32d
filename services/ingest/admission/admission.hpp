#pragma once

#include "services/ingest/admission/row_validation.hpp"
#include "services/ingest/log/append_request.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace troupe::ingest {

/// A batch of rows on its way into the log; the same way for a file, a caller and the quarantine. Whoever
/// reads the rows decodes them and adds records (normalised and checked here) or refuses rows; then `encode`,
/// `validation` to be asked, `take_out` what it names, and the request is the log's. One thread at a time.
class admission {
public:
  /// `stream`: the stable name by which the validator keeps profiles and uniqueness; `first_record`: how many
  /// records the stream gave before these.
  admission(std::string stream, std::uint64_t first_record);

  /// Of a stream that does not count its records: the clock stands for their number.
  explicit admission(std::string stream);

  /// Source, import, position and number of the batch are the caller's to fill in.
  const std::shared_ptr<append_request>& request() const noexcept { return request_; }

  /// How far ahead of the clock records may be dated, where the mapping of their source says so.
  void let_ahead(std::optional<std::chrono::microseconds> max_ahead) noexcept { max_ahead_ = max_ahead; }

  /// Takes a record. One that the log cannot keep is refused by rule `record`.
  void add(record rec, row_origin origin);

  /// A row that gave no record.
  void refuse(const row_origin& origin, std::string rule, std::string field, std::string reason);

  /// Encodes what was added, once: for the validator and for the log.
  void encode(std::uint32_t partitions) { request_->encode(partitions); }

  /// What is to be validated; nothing where there are no records.
  bool empty() const noexcept { return request_->size() == 0; }
  validation_request validation() const;

  /// Refuses the records that break something; the first violation stands for a record.
  void take_out(const std::vector<row_violation>& violations);

  /// For rows out of the quarantine: one of which something was refused stays there whole, and is not refused
  /// anew. Gives how many.
  std::size_t leave_refused_rows();

private:
  std::string stream_;
  std::uint64_t first_record_ = 0;
  timestamp accepted_ = wall_now();
  std::optional<std::chrono::microseconds> max_ahead_;
  std::shared_ptr<append_request> request_ = std::make_shared<append_request>();
  std::set<std::uint64_t> refused_rows_; ///< By number in the quarantine.
};

} // namespace troupe::ingest
