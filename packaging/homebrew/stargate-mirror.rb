# Formula for Homebrew. packaging/homebrew/fill puts the repository, the version and the checksum of a release into it.
class StargateMirror < Formula
  desc "Carries every push from a self-hosted Git server to its mirror"
  homepage "https://github.com/OWNER/stargate-mirror"
  url "https://github.com/OWNER/stargate-mirror/archive/refs/tags/v0.1.0.tar.gz"
  sha256 "0000000000000000000000000000000000000000000000000000000000000000"
  license any_of: ["MIT", "Apache-2.0"]

  depends_on "rust" => :build

  def install
    system "cargo", "install", *std_cargo_args
    system bin/"stargate-mirror", "man", "--out", man1
    generate_completions_from_executable(bin/"stargate-mirror", "completions")
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/stargate-mirror --version")
    assert_match "mirrored", shell_output("#{bin}/stargate-mirror demo")
  end
end
