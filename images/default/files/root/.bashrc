# Interactive shells only.
case $- in
  *i*) ;;
  *) return ;;
esac

PS1='\[\e[36m\]\h\[\e[0m\]:\[\e[34m\]\w\[\e[0m\]\$ '
HISTCONTROL=ignoreboth
shopt -s checkwinsize
alias ls='ls --color=auto'
alias ll='ls -la'
alias grep='grep --color=auto'
