# nix run 'github:OWNER/stargate-mirror?dir=packaging/nix' -- demo
{
  description = "Carries every push from a self-hosted Git server to its mirror, and never loses one";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs = { self, nixpkgs }:
    let
      systems = [ "x86_64-linux" "aarch64-linux" "x86_64-darwin" "aarch64-darwin" ];
      for = f: nixpkgs.lib.genAttrs systems (system: f nixpkgs.legacyPackages.${system});
      manifest = (nixpkgs.lib.importTOML ../../Cargo.toml).package;
    in
    {
      packages = for (pkgs: {
        default = pkgs.rustPlatform.buildRustPackage {
          pname = manifest.name;
          inherit (manifest) version;
          src = ../..;
          cargoLock.lockFile = ../../Cargo.lock;
          cargoBuildFlags = [ "--package" manifest.name ];
          nativeBuildInputs = [ pkgs.installShellFiles ];
          # The tests need servers and a network.
          doCheck = false;
          postInstall = nixpkgs.lib.optionalString (pkgs.stdenv.buildPlatform.canExecute pkgs.stdenv.hostPlatform) ''
            $out/bin/stargate-mirror man --out man
            installManPage man/*.1
            for shell in bash fish zsh; do
              installShellCompletion --cmd stargate-mirror --$shell <($out/bin/stargate-mirror completions $shell)
            done
          '';
          meta = {
            description = manifest.description;
            license = with nixpkgs.lib.licenses; [ mit asl20 ];
            mainProgram = "stargate-mirror";
          };
        };
      });

      devShells = for (pkgs: {
        default = pkgs.mkShell { packages = with pkgs; [ cargo rustc clippy rustfmt git ]; };
      });
    };
}
