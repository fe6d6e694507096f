# OpenCode's terminal is a login shell, and /etc/profile has just reset PATH.
case ":$PATH:" in
  *:/opt/opencode/bin:*) ;;
  *) export PATH="$PATH:/opt/opencode/bin" ;;
esac
export LANG="${LANG:-C.UTF-8}"
