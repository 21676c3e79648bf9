// e2p on the CPU.
//
// Forward: rows of tiles are independent; a row goes in chunks of kChunk pixels. Directions and positions are computed
// in vector loops that the compiler unrolls, kept in the first-level cache, and read by the taps. Random reads bound
// the kernel, so taps fetch as much as one load can give: a whole RGB pixel of interleaved uint8, or two neighbours of a
// planar image. Chunks on the seam or beyond a pole take four separate reads.
//
// Backward: the ERP rows are cut into bands, one writer each, so no two threads add to one pixel and the order of the
// additions at a pixel depends on nothing but the tiles. Bands recompute positions rather than store them (16 bytes per
// pixel); intervals of touched ERP rows, found first for every tile row and chunk, tell a band what it may skip.
//
// 1. positions of a chunk   2. loads   3. forward   4. backward   5. entry points
#include <cstring>

#include "common/huge_pages.h"
#include "common/parallel.h"
#include "warp/e2p_sphere.h"

// Keeps the compiler from turning a loop of loads into gather instructions.
#define REFKP_SCALAR_LOOP asm volatile("")

namespace refkp {
namespace REFKP_ISA {
namespace {

constexpr int kChunk = 32;
constexpr int kChannels = 8;  // channels that share one computation of positions

template <class T>
struct Compute {
  using Real = float;
};
template <>
struct Compute<double> {
  using Real = double;
};

// ---- 1. positions of a chunk ----

template <class Real>
struct Chunk {
  alignas(64) int column[kChunk], row[kChunk];
  alignas(64) Real column_fraction[kChunk], row_fraction[kChunk];
};

// Positions of kChunk pixels from (column, row) on; rows are doubles so that the start is exact before it is rounded.
template <class Real>
void locate_chunk(const Sphere<Real>& sphere, const double* rays, double column, double row, Chunk<Real>& chunk) {
  Real start[3], step[3];
  for (int i = 0; i < 3; ++i) {
    start[i] = static_cast<Real>(rays[3 * i] * column + rays[3 * i + 1] * row + rays[3 * i + 2]);
    step[i] = static_cast<Real>(rays[3 * i]);
  }
  const Sphere<Real> local = sphere;
  for (int k = 0; k < kChunk; ++k) {
    const Real t = static_cast<Real>(k);
    const Position<Real> at = locate(local, start[0] + step[0] * t, start[1] + step[1] * t, start[2] + step[2] * t);
    chunk.column[k] = at.column;
    chunk.row[k] = at.row;
    chunk.column_fraction[k] = at.column_fraction;
    chunk.row_fraction[k] = at.row_fraction;
  }
}

// Whether every pixel has its three neighbours right, below and across in the image without wrapping.
template <class Real>
bool is_interior(const Sphere<Real>& sphere, const Chunk<Real>& chunk) {
  int outside = 0;
  for (int k = 0; k < kChunk; ++k)
    outside |= (chunk.row[k] < 0) | (chunk.row[k] + 1 >= sphere.height) | (chunk.column[k] + 1 >= sphere.width);
  return outside == 0;
}

struct Offsets {
  alignas(64) int32_t tap[4][kChunk];  // of (row, column), (row, column + 1), (row + 1, column), (row + 1, column + 1)
};

template <class Real>
void tap_offsets(const Sphere<Real>& sphere, const Chunk<Real>& chunk, bool interior, Offsets& offsets) {
  const Sphere<Real> local = sphere;
  if (interior) {
    for (int k = 0; k < kChunk; ++k) {
      const int32_t first = chunk.row[k] * local.stride_row + chunk.column[k] * local.stride_column;
      offsets.tap[0][k] = first;
      offsets.tap[1][k] = first + local.stride_column;
      offsets.tap[2][k] = first + local.stride_row;
      offsets.tap[3][k] = first + local.stride_row + local.stride_column;
    }
    return;
  }
  for (int k = 0; k < kChunk; ++k) {
    offsets.tap[0][k] = tap_offset(local, chunk.row[k], chunk.column[k]);
    offsets.tap[1][k] = tap_offset(local, chunk.row[k], chunk.column[k] + 1);
    offsets.tap[2][k] = tap_offset(local, chunk.row[k] + 1, chunk.column[k]);
    offsets.tap[3][k] = tap_offset(local, chunk.row[k] + 1, chunk.column[k] + 1);
  }
}

template <class Real>
void nearest_offsets(const Sphere<Real>& sphere, const Chunk<Real>& chunk, int32_t* offset) {
  const Sphere<Real> local = sphere;
  for (int k = 0; k < kChunk; ++k) {
    const Position<Real> at = {chunk.column[k], chunk.row[k], chunk.column_fraction[k], chunk.row_fraction[k]};
    offset[k] = nearest_offset(local, at);
  }
}

// ---- 2. loads ----

// Words at single addresses go through memory into the vector loops: plain loads, two per cycle, outrun the gather
// instructions of current processors by far.
template <class Word, class T>
inline void load_words(const T* plane, const int32_t* offset, Word* word) {
  for (int k = 0; k < kChunk; ++k) {
    std::memcpy(word + k, plane + offset[k], sizeof(Word));
    REFKP_SCALAR_LOOP;
  }
}

template <class T, class Real>
void load(const T* plane, const int32_t* offset, Real* value) {
  alignas(64) T word[kChunk];
  load_words(plane, offset, word);
  for (int k = 0; k < kChunk; ++k) value[k] = static_cast<Real>(word[k]);
}

// A pixel and its right neighbour, adjacent in memory.
void load_pairs(const uint8_t* plane, const int32_t* offset, float* left, float* right) {
  alignas(64) uint16_t word[kChunk];
  load_words(plane, offset, word);
  for (int k = 0; k < kChunk; ++k) {
    left[k] = static_cast<float>(word[k] & 255);
    right[k] = static_cast<float>(word[k] >> 8);
  }
}

template <class Real>
void load_pairs(const Real* plane, const int32_t* offset, Real* left, Real* right) {
  struct Pair {
    Real left, right;
  };
  alignas(64) Pair pair[kChunk];
  load_words(plane, offset, pair);
  for (int k = 0; k < kChunk; ++k) {
    left[k] = pair[k].left;
    right[k] = pair[k].right;
  }
}

// All bytes of a pixel, and of its right neighbour `stride` <= 4 bytes on, from eight bytes.
void load_pixel_pairs(const uint8_t* image, const int32_t* offset, int64_t stride, uint32_t* left, uint32_t* right) {
  alignas(64) uint64_t word[kChunk];
  load_words(image, offset, word);
  for (int k = 0; k < kChunk; ++k) {
    left[k] = static_cast<uint32_t>(word[k]);
    right[k] = static_cast<uint32_t>(word[k] >> (8 * stride));
  }
}

// ---- 3. forward ----

template <class T>
struct Image {
  const T* data;  // its first element
  const T* end;   // one past the last element that any image of the batch reaches
};

template <class Real>
void add_bilinear(const Chunk<Real>& at, const Real (&tap)[4][kChunk], Real* sum) {
  for (int k = 0; k < kChunk; ++k) {
    const Real above = tap[0][k] + at.column_fraction[k] * (tap[1][k] - tap[0][k]);
    const Real below = tap[2][k] + at.column_fraction[k] * (tap[3][k] - tap[2][k]);
    sum[k] += above + at.row_fraction[k] * (below - above);
  }
}

template <class T, class Real>
void add_separate_taps(const T* plane, const Chunk<Real>& at, const Offsets& offsets, Real* sum) {
  alignas(64) Real tap[4][kChunk];
  for (int i = 0; i < 4; ++i) load(plane, offsets.tap[i], tap[i]);
  add_bilinear(at, tap, sum);
}

template <class T, class Real>
void add_pairs(const T* plane, const Chunk<Real>& at, const Offsets& offsets, Real* sum) {
  alignas(64) Real tap[4][kChunk];
  load_pairs(plane, offsets.tap[0], tap[0], tap[1]);
  load_pairs(plane, offsets.tap[2], tap[2], tap[3]);
  add_bilinear(at, tap, sum);
}

// Interleaved bytes: two loads per pixel serve all of at most four channels.
void add_pixel_pairs(const E2pGeometry& g, const uint8_t* image, const Chunk<float>& at, const Offsets& offsets,
                     float (*sum)[kChunk]) {
  alignas(64) uint32_t word[4][kChunk];
  alignas(64) float tap[4][kChunk];
  load_pixel_pairs(image, offsets.tap[0], g.stride_column, word[0], word[1]);
  load_pixel_pairs(image, offsets.tap[2], g.stride_column, word[2], word[3]);
  for (int c = 0; c < g.num_channels; ++c) {
    for (int i = 0; i < 4; ++i)
      for (int k = 0; k < kChunk; ++k) tap[i][k] = static_cast<float>(word[i][k] >> (8 * c) & 255);
    add_bilinear(at, tap, sum[c]);
  }
}

// Whether pixels are interleaved bytes and none of the eight-byte loads reaches beyond the end of the images.
bool can_load_pixel_pairs(const E2pGeometry& g, const Image<uint8_t>& image, const Offsets& offsets) {
  if (g.stride_channel != 1 || g.num_channels > 4 || g.stride_column > 4) return false;
  int32_t last = 0;
  for (int k = 0; k < kChunk; ++k) last = offsets.tap[2][k] > last ? offsets.tap[2][k] : last;
  return image.end - image.data >= last + int64_t(sizeof(uint64_t));
}

template <class T, class Real>
void add_bilinear_samples(const E2pGeometry& g, const Sphere<Real>& sphere, const Image<T>& image, int64_t first_channel,
                          int channels, const Chunk<Real>& at, Real (*sum)[kChunk]) {
  const bool interior = is_interior(sphere, at);
  Offsets offsets;
  tap_offsets(sphere, at, interior, offsets);
  if constexpr (sizeof(T) == 1) {
    if (interior && can_load_pixel_pairs(g, image, offsets)) return add_pixel_pairs(g, image.data, at, offsets, sum);
  }
  for (int c = 0; c < channels; ++c) {
    const T* plane = image.data + (first_channel + c) * g.stride_channel;
    if (interior && g.stride_column == 1) add_pairs(plane, at, offsets, sum[c]);
    else add_separate_taps(plane, at, offsets, sum[c]);
  }
}

template <class T, class Real>
void add_nearest_samples(const E2pGeometry& g, const Sphere<Real>& sphere, const Image<T>& image, int64_t first_channel,
                         int channels, const Chunk<Real>& at, Real (*sum)[kChunk]) {
  alignas(64) int32_t offset[kChunk];
  alignas(64) Real value[kChunk];
  nearest_offsets(sphere, at, offset);
  for (int c = 0; c < channels; ++c) {
    load(image.data + (first_channel + c) * g.stride_channel, offset, value);
    for (int k = 0; k < kChunk; ++k) sum[c][k] += value[k];
  }
}

// Centre of sample i of s in a pixel, relative to the pixel's centre.
double sample_offset(int64_t i, int64_t s) { return (i + 0.5) / s - 0.5; }

template <class T, class Real>
void forward_row(const E2pGeometry& g, const Sphere<Real>& sphere, const T* erp, Real* out, int64_t tile, int64_t row) {
  const int64_t s = g.samples[tile], plane = g.height * g.width;
  const double* rays = g.rays + 9 * tile;
  const T* end = erp + (g.num_images - 1) * g.stride_image + (g.num_channels - 1) * g.stride_channel +
                 (g.erp_height - 1) * g.stride_row + (g.erp_width - 1) * g.stride_column + 1;
  const Image<T> image = {erp + g.image_index[tile] * g.stride_image, end};
  Real* out_row = out + tile * g.num_channels * plane + row * g.width;
  const Real share = Real(1) / static_cast<Real>(s * s);
  for (int64_t column = 0; column < g.width; column += kChunk) {
    const int count = static_cast<int>(g.width - column < kChunk ? g.width - column : kChunk);
    for (int64_t first = 0; first < g.num_channels; first += kChannels) {
      const int channels = static_cast<int>(g.num_channels - first < kChannels ? g.num_channels - first : kChannels);
      alignas(64) Real sum[kChannels][kChunk] = {};
      Chunk<Real> at;
      for (int64_t i = 0; i < s * s; ++i) {
        locate_chunk(sphere, rays, column + sample_offset(i % s, s), row + sample_offset(i / s, s), at);
        if (g.nearest) add_nearest_samples(g, sphere, image, first, channels, at, sum);
        else add_bilinear_samples(g, sphere, image, first, channels, at, sum);
      }
      for (int c = 0; c < channels; ++c)
        for (int k = 0; k < count; ++k) out_row[(first + c) * plane + column + k] = share * sum[c][k];
    }
  }
}

template <class T>
void forward(const void* erp, void* out, const E2pGeometry& g, int threads) {
  using Real = typename Compute<T>::Real;
  const Sphere<Real> sphere = make_sphere<Real>(g);
  prefer_huge_pages(out, sizeof(Real) * g.num_tiles * g.num_channels * g.height * g.width);
  parallel_for(g.num_tiles * g.height, 8, threads, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      forward_row(g, sphere, static_cast<const T*>(erp), static_cast<Real*>(out), i / g.height, i % g.height);
  });
}

// ---- 4. backward ----

// Closed range of ERP rows; empty when last < first.
struct Interval {
  int first, last;
  void add(int begin, int end) {
    first = begin < first ? begin : first;
    last = end > last ? end : last;
  }
  bool meets(int begin, int end) const { return first < end && last >= begin; }
};

// Freed with its scope; a std::vector here would emit code shared with other instruction sets.
struct Intervals {
  explicit Intervals(int64_t count) : data(new Interval[count]) {}
  ~Intervals() { delete[] data; }
  Intervals(const Intervals&) = delete;
  Intervals& operator=(const Intervals&) = delete;
  Interval* data;
};

template <class Real>
struct Backward {
  const E2pGeometry& g;
  Sphere<Real> sphere;
  const Real* grad_out;
  Real* grad_erp;
  int64_t chunks;  // per tile row
  Interval* rows;  // of every tile row
  Interval* row_chunks;

  template <class Visit>
  void for_each_sample(int64_t tile, int64_t row, int64_t chunk, const Visit& visit) const {
    const int64_t s = g.samples[tile];
    Chunk<Real> at;
    for (int64_t i = 0; i < s * s; ++i) {
      locate_chunk(sphere, g.rays + 9 * tile, chunk * kChunk + sample_offset(i % s, s), row + sample_offset(i / s, s), at);
      visit(at);
    }
  }

  void find_interval(int64_t tile_row) const {
    rows[tile_row] = {INT32_MAX, -1};
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      Interval touched = {INT32_MAX, -1};
      for_each_sample(tile_row / g.height, tile_row % g.height, chunk, [&](const Chunk<Real>& at) {
        for (int k = 0; k < kChunk; ++k) touched.add(at.row[k], at.row[k] + 1);
      });
      row_chunks[tile_row * chunks + chunk] = touched;
      rows[tile_row].add(touched.first, touched.last);
    }
  }

  // Adds the taps of one sample of a chunk that lie at offsets [begin, end) of the plane.
  void scatter(const Chunk<Real>& at, const Offsets& offsets, int taps, int count, Real share, const Real* grad,
               Real* plane, int32_t begin, int32_t end) const {
    for (int k = 0; k < count; ++k) {
      const Real whole = share * grad[k], lower = whole * at.row_fraction[k], upper = whole - lower;
      const Real right_above = upper * at.column_fraction[k], right_below = lower * at.column_fraction[k];
      const Real part[4] = {upper - right_above, right_above, lower - right_below, right_below};
      for (int i = 0; i < taps; ++i) {
        const int32_t offset = offsets.tap[i][k];
        if (offset >= begin && offset < end) plane[offset] += taps == 1 ? whole : part[i];
      }
    }
  }

  void add_chunk(int64_t tile, int64_t row, int64_t chunk, int band_begin, int band_end) const {
    const int64_t left = g.width - chunk * kChunk, erp_plane = g.erp_height * g.erp_width;
    const int count = static_cast<int>(left < kChunk ? left : kChunk);
    const Real share = Real(1) / static_cast<Real>(g.samples[tile] * g.samples[tile]);
    const Real* grad = grad_out + (tile * g.num_channels * g.height + row) * g.width + chunk * kChunk;
    Real* plane = grad_erp + g.image_index[tile] * g.num_channels * erp_plane;
    const int32_t begin = band_begin * sphere.stride_row, end = (band_end - 1) * sphere.stride_row + sphere.width;
    for_each_sample(tile, row, chunk, [&](const Chunk<Real>& at) {
      Offsets offsets;
      if (g.nearest) nearest_offsets(sphere, at, offsets.tap[0]);
      else tap_offsets(sphere, at, is_interior(sphere, at), offsets);
      for (int64_t c = 0; c < g.num_channels; ++c)
        scatter(at, offsets, g.nearest ? 1 : 4, count, share, grad + c * g.height * g.width, plane + c * erp_plane, begin, end);
    });
  }

  // ERP rows [begin, end) of one image: the taps across a pole lie in its first or last row, like the row beyond it.
  void fill_band(int64_t image, int begin, int end) const {
    const int64_t erp_plane = g.erp_height * g.erp_width;
    for (int64_t c = 0; c < g.num_channels; ++c)
      std::memset(grad_erp + (image * g.num_channels + c) * erp_plane + begin * g.erp_width, 0,
                  sizeof(Real) * (end - begin) * g.erp_width);
    const int low = begin == 0 ? -1 : begin, high = end == g.erp_height ? end + 1 : end;
    for (int64_t tile = 0; tile < g.num_tiles; ++tile) {
      if (g.image_index[tile] != image) continue;
      for (int64_t row = 0; row < g.height; ++row) {
        const int64_t tile_row = tile * g.height + row;
        if (!rows[tile_row].meets(low, high)) continue;
        for (int64_t chunk = 0; chunk < chunks; ++chunk)
          if (row_chunks[tile_row * chunks + chunk].meets(low, high)) add_chunk(tile, row, chunk, begin, end);
      }
    }
  }
};

template <class Real>
void backward(const void* grad_out, void* grad_erp, const E2pGeometry& g, int threads) {
  const int64_t tile_rows = g.num_tiles * g.height, chunks = (g.width + kChunk - 1) / kChunk;
  prefer_huge_pages(grad_erp, sizeof(Real) * g.num_images * g.num_channels * g.erp_height * g.erp_width);
  const Intervals rows(tile_rows), row_chunks(tile_rows * chunks);
  const Backward<Real> pass = {g,      make_sphere<Real>(g), static_cast<const Real*>(grad_out), static_cast<Real*>(grad_erp),
                               chunks, rows.data,            row_chunks.data};
  parallel_for(tile_rows, 16, threads, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) pass.find_interval(i);
  });
  const int64_t wanted = 8 * threads, bands = wanted < g.erp_height ? wanted : g.erp_height;
  parallel_for(g.num_images * bands, 1, threads, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      pass.fill_band(i / bands, static_cast<int>(i % bands * g.erp_height / bands),
                     static_cast<int>((i % bands + 1) * g.erp_height / bands));
  });
}

}  // namespace

// ---- 5. entry points ----

void e2p(DType dtype, const void* erp, const E2pGeometry& geometry, void* out, int threads) {
  if (dtype == DType::uint8) forward<uint8_t>(erp, out, geometry, threads);
  else if (dtype == DType::float32) forward<float>(erp, out, geometry, threads);
  else forward<double>(erp, out, geometry, threads);
}

void e2p_backward(DType dtype, const void* grad_out, const E2pGeometry& geometry, void* grad_erp, int threads) {
  if (dtype == DType::float32) backward<float>(grad_out, grad_erp, geometry, threads);
  else backward<double>(grad_out, grad_erp, geometry, threads);
}

}  // namespace REFKP_ISA
}  // namespace refkp
