// e2p on the CPU.
//
// Forward: rows of tiles are independent; a row goes in chunks of kChunk pixels. Directions and positions are computed
// in vector loops that the compiler unrolls, kept in the first-level cache, and read by the taps. Random reads bound
// the kernel, so taps fetch as much as one load can give: a whole RGB pixel of interleaved uint8, or two neighbours of a
// planar image. Chunks on the seam or beyond a pole take four separate reads.
//
// Backward: the ERP rows are cut into bands, one writer each, so no two threads add to one pixel and the order of the
// additions at a pixel depends on nothing but the tiles. Bands recompute positions rather than store them (16 bytes per
// pixel); intervals of touched ERP rows, found first for every tile row and chunk, tell a band what it may skip. With a
// pyramid each level has such a pass of its own, and then the levels are added up.
//
// 1. forward   2. backward   3. entry points (before them: e2p_chunk.h, e2p_pyramid.h)
#include <cstring>

#include "warp/e2p_chunk.h"
#include "warp/e2p_pyramid.h"

namespace refkp {
namespace REFKP_ISA {
namespace {

// ---- 1. forward ----

template <class T>
struct Image {
  const T* data;  // its first element
  const T* end;   // one past the last element that any image of the batch reaches; read of bytes alone
};

// Differences keep a constant image constant; where they are not finite the taps that have a weight are added up.
template <class Real>
void add_bilinear(const Chunk<Real>& at, const Real (&tap)[4][kChunk], Real* sum) {
  alignas(64) Real value[kChunk];
  int broken = 0;
  for (int k = 0; k < kChunk; ++k) {
    const Real above = tap[0][k] + at.column_fraction[k] * (tap[1][k] - tap[0][k]);
    const Real below = tap[2][k] + at.column_fraction[k] * (tap[3][k] - tap[2][k]);
    value[k] = above + at.row_fraction[k] * (below - above);
    broken |= !(value[k] - value[k] == Real(0));
  }
  for (int k = 0; broken != 0 && k < kChunk; ++k)
    if (!(value[k] - value[k] == Real(0)))
      value[k] = weighted_sum(tap[0][k], tap[1][k], tap[2][k], tap[3][k], at.column_fraction[k], at.row_fraction[k]);
  for (int k = 0; k < kChunk; ++k) sum[k] += value[k];
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

// One sample of every pixel of a chunk, of one level.
template <class T, class Real>
void add_samples(const E2pGeometry& g, const Sphere<Real>& sphere, const Image<T>& image, int64_t first_channel, int channels,
                 const Chunk<Real>& at, Real (*sum)[kChunk]) {
  if (g.nearest) add_nearest_samples(g, sphere, image, first_channel, channels, at, sum);
  else add_bilinear_samples(g, sphere, image, first_channel, channels, at, sum);
}

template <class T, class Real>
struct Forward {
  const E2pGeometry& g;
  Sphere<Real> sphere;
  const T* erp;
  const T* end;  // one past the last element of the images
  const Real* pyramid;
  Real* out;

  // Levels below the least and above the greatest of a chunk have no share; most chunks read two.
  void add_levels(int64_t tile, const Levels<Real>& levels, int64_t first, int channels, const Chunk<Real>& at,
                  Real (*sum)[kChunk]) const {
    for (int level = levels.least; level <= levels.greatest; ++level) {
      alignas(64) Real part[kChannels][kChunk] = {}, share[kChunk];
      level_shares(levels, level, share);
      if (level == 0) {
        add_samples(g, sphere, image(tile), first, channels, at, part);
      } else {
        const E2pGeometry coarse = level_geometry(g, level);
        const Sphere<Real> coarser = coarse_sphere(sphere, level);
        const Real* data = pyramid + level_offset(g, level) + g.image_index[tile] * coarse.stride_image;
        Chunk<Real> there;
        coarsen_chunk(coarser, at, level, there);
        add_samples(coarse, coarser, Image<Real>{data, nullptr}, first, channels, there, part);
      }
      for (int c = 0; c < channels; ++c)
        for (int k = 0; k < kChunk; ++k) sum[c][k] += share[k] != 0 ? share[k] * part[c][k] : Real(0);
    }
  }

  void fill_row(int64_t tile, int64_t row) const {
    const int64_t s = g.samples[tile], plane = g.height * g.width;
    const Grid<Real> grid = make_grid(g, sphere, tile);
    Real* out_row = out + tile * g.num_channels * plane + row * g.width;
    const Real share = Real(1) / static_cast<Real>(s * s);
    for (int64_t column = 0; column < g.width; column += kChunk) {
      const int count = static_cast<int>(g.width - column < kChunk ? g.width - column : kChunk);
      for (int64_t first = 0; first < g.num_channels; first += kChannels) {
        const int channels = static_cast<int>(g.num_channels - first < kChannels ? g.num_channels - first : kChannels);
        alignas(64) Real sum[kChannels][kChunk] = {};
        Chunk<Real> at;
        for (int64_t i = 0; i < s * s; ++i) {
          const double c = column + sample_offset(i % s, s), r = row + sample_offset(i / s, s);
          locate_chunk(sphere, g.rays + 9 * tile, c - g.centre_column, r - g.centre_row, at);
          if (g.num_levels == 0) add_samples(g, sphere, image(tile), first, channels, at, sum);
          else add_levels(tile, find_levels(grid, c, r), first, channels, at, sum);
        }
        for (int c = 0; c < channels; ++c)
          for (int k = 0; k < count; ++k) out_row[(first + c) * plane + column + k] = share * sum[c][k];
      }
    }
  }

  Image<T> image(int64_t tile) const { return {erp + g.image_index[tile] * g.stride_image, end}; }
};

template <class T>
void forward(const void* erp, const void* pyramid, void* out, const E2pGeometry& g, int threads) {
  using Real = typename Compute<T>::Real;
  const T* first = static_cast<const T*>(erp);
  const T* end = first + (g.num_images - 1) * g.stride_image + (g.num_channels - 1) * g.stride_channel +
                 (g.erp_height - 1) * g.stride_row + (g.erp_width - 1) * g.stride_column + 1;
  const Real* levels = static_cast<const Real*>(pyramid);
  const Forward<T, Real> pass = {g, make_sphere<Real>(g), first, end, levels, static_cast<Real*>(out)};
  prefer_huge_pages(out, sizeof(Real) * g.num_tiles * g.num_channels * g.height * g.width);
  parallel_for(g.num_tiles * g.height, 8, threads, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) pass.fill_row(i / g.height, i % g.height);
  });
}

// ---- 2. backward ----

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

// The gradient of one level.
template <class Real>
struct Backward {
  const E2pGeometry& g;  // of level 0
  int level;
  E2pGeometry at_level;
  Sphere<Real> fine, sphere;  // of level 0 and of the level
  const Real* grad_out;
  Real* grad_level;
  int64_t chunks;  // per tile row
  Interval* rows;  // of every tile row
  Interval* row_chunks;

  // Visits the positions in the level, with what it has of each sample; samples of other levels are left out.
  template <class Visit>
  void for_each_sample(int64_t tile, int64_t row, int64_t chunk, const Visit& visit) const {
    const int64_t s = g.samples[tile];
    const Grid<Real> grid = make_grid(g, fine, tile);
    Chunk<Real> at;
    alignas(64) Real share[kChunk];
    for (int64_t i = 0; i < s * s; ++i) {
      const double c = chunk * kChunk + sample_offset(i % s, s), r = row + sample_offset(i / s, s);
      const Levels<Real> levels = find_levels(grid, c, r);
      if (level < levels.least || level > levels.greatest) continue;
      level_shares(levels, level, share);
      locate_chunk(fine, g.rays + 9 * tile, c - g.centre_column, r - g.centre_row, at);
      if (level > 0) coarsen_chunk(sphere, at, level, at);
      visit(at, share);
    }
  }

  void find_interval(int64_t tile_row) const {
    rows[tile_row] = {INT32_MAX, -1};
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      Interval touched = {INT32_MAX, -1};
      for_each_sample(tile_row / g.height, tile_row % g.height, chunk, [&](const Chunk<Real>& at, const Real*) {
        for (int k = 0; k < kChunk; ++k) touched.add(at.row[k], at.row[k] + 1);
      });
      row_chunks[tile_row * chunks + chunk] = touched;
      rows[tile_row].add(touched.first, touched.last);
    }
  }

  // Adds the taps of one sample of a chunk that lie at offsets [begin, end) of the plane.
  void scatter(const Chunk<Real>& at, const Offsets& offsets, int taps, int count, const Real* share, Real scale,
               const Real* grad, Real* plane, int32_t begin, int32_t end) const {
    for (int k = 0; k < count; ++k) {
      if (share[k] == 0) continue;
      const Real whole = scale * share[k] * grad[k], x = at.column_fraction[k], y = at.row_fraction[k];
      const Real lower = whole * y, upper = whole - lower, right_above = upper * x, right_below = lower * x;
      const Real part[4] = {upper - right_above, right_above, lower - right_below, right_below};
      const bool finite = whole - whole == Real(0);
      for (int i = 0; i < taps; ++i) {
        const int32_t offset = offsets.tap[i][k];
        if (offset < begin || offset >= end) continue;
        if (taps == 1) plane[offset] += whole;
        else if (finite) plane[offset] += part[i];
        else if (tap_weight(i, x, y) != 0) plane[offset] += tap_weight(i, x, y) * whole;
      }
    }
  }

  void add_chunk(int64_t tile, int64_t row, int64_t chunk, int band_begin, int band_end) const {
    const int64_t left = g.width - chunk * kChunk, level_plane = at_level.erp_height * at_level.erp_width;
    const int count = static_cast<int>(left < kChunk ? left : kChunk);
    const Real scale = Real(1) / static_cast<Real>(g.samples[tile] * g.samples[tile]);
    const Real* grad = grad_out + (tile * g.num_channels * g.height + row) * g.width + chunk * kChunk;
    Real* plane = grad_level + g.image_index[tile] * g.num_channels * level_plane;
    const int32_t begin = band_begin * sphere.stride_row, end = (band_end - 1) * sphere.stride_row + sphere.width;
    for_each_sample(tile, row, chunk, [&](const Chunk<Real>& at, const Real* share) {
      Offsets offsets;
      if (g.nearest) nearest_offsets(sphere, at, offsets.tap[0]);
      else tap_offsets(sphere, at, is_interior(sphere, at), offsets);
      for (int64_t c = 0; c < g.num_channels; ++c)
        scatter(at, offsets, g.nearest ? 1 : 4, count, share, scale, grad + c * g.height * g.width, plane + c * level_plane,
                begin, end);
    });
  }

  // Rows [begin, end) of one image. What crosses a pole touches the row before it too.
  void fill_band(int64_t image, int begin, int end) const {
    const int64_t width = at_level.erp_width, level_plane = at_level.erp_height * width;
    for (int64_t c = 0; c < g.num_channels; ++c)
      std::memset(grad_level + (image * g.num_channels + c) * level_plane + begin * width, 0,
                  sizeof(Real) * (end - begin) * width);
    for (int64_t tile = 0; tile < g.num_tiles; ++tile) {
      if (g.image_index[tile] != image) continue;
      for (int64_t row = 0; row < g.height; ++row) {
        const int64_t tile_row = tile * g.height + row;
        if (!rows[tile_row].meets(begin, end)) continue;
        for (int64_t chunk = 0; chunk < chunks; ++chunk)
          if (row_chunks[tile_row * chunks + chunk].meets(begin, end)) add_chunk(tile, row, chunk, begin, end);
      }
    }
  }
};

template <class Real>
void backward_level(const Real* grad_out, Real* grad_level, const E2pGeometry& g, int level, int threads) {
  const int64_t tile_rows = g.num_tiles * g.height, chunks = (g.width + kChunk - 1) / kChunk;
  const E2pGeometry at_level = level_geometry(g, level);
  const int64_t height = at_level.erp_height;
  prefer_huge_pages(grad_level, sizeof(Real) * g.num_images * g.num_channels * height * at_level.erp_width);
  const Intervals rows(tile_rows), row_chunks(tile_rows * chunks);
  const Sphere<Real> fine = make_sphere<Real>(g), sphere = level == 0 ? fine : coarse_sphere(fine, level);
  const Backward<Real> pass = {g, level, at_level, fine, sphere, grad_out, grad_level, chunks, rows.data, row_chunks.data};
  parallel_for(tile_rows, 16, threads, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) pass.find_interval(i);
  });
  const int64_t wanted = 8 * threads, bands = wanted < height ? wanted : height;
  parallel_for(g.num_images * bands, 1, threads, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      pass.fill_band(i / bands, static_cast<int>(i % bands * height / bands),
                     static_cast<int>((i % bands + 1) * height / bands));
  });
}

template <class Real>
void backward(const void* grad_out, void* grad_pyramid, void* grad_erp, const E2pGeometry& g, int threads) {
  const Real* grad = static_cast<const Real*>(grad_out);
  Real *levels = static_cast<Real*>(grad_pyramid), *image = static_cast<Real*>(grad_erp);
  for (int level = 0; level <= g.num_levels; ++level)
    backward_level(grad, level == 0 ? image : levels + level_offset(g, level), g, level, threads);
  fold_pyramid(g, levels, image, threads);
}

}  // namespace

// ---- 3. entry points ----

void e2p_pyramid(DType dtype, const void* erp, const E2pGeometry& g, void* pyramid, int threads) {
  if (dtype == DType::uint8) fill_pyramid(g, static_cast<const uint8_t*>(erp), static_cast<float*>(pyramid), threads);
  else if (dtype == DType::float32) fill_pyramid(g, static_cast<const float*>(erp), static_cast<float*>(pyramid), threads);
  else fill_pyramid(g, static_cast<const double*>(erp), static_cast<double*>(pyramid), threads);
}

void e2p(DType dtype, const void* erp, const void* pyramid, const E2pGeometry& geometry, void* out, int threads) {
  if (dtype == DType::uint8) forward<uint8_t>(erp, pyramid, out, geometry, threads);
  else if (dtype == DType::float32) forward<float>(erp, pyramid, out, geometry, threads);
  else forward<double>(erp, pyramid, out, geometry, threads);
}

void e2p_backward(DType dtype, const void* grad_out, const E2pGeometry& geometry, void* grad_pyramid, void* grad_erp,
                  int threads) {
  if (dtype == DType::float32) backward<float>(grad_out, grad_pyramid, grad_erp, geometry, threads);
  else backward<double>(grad_out, grad_pyramid, grad_erp, geometry, threads);
}

}  // namespace REFKP_ISA
}  // namespace refkp
