% The same reachability with the recursive call first.
%% answer: reach(s,a)  0.6
%% answer: reach(s,b)  0.3
%% answer: reach(s,s)  0.1728
%% answer: reach(s,t)  0.216
%% answer: reach(t,b)  0.24

0.6::edge(s, a).
0.5::edge(a, b).
0.9::edge(b, a).
0.4::edge(b, t).
0.2::edge(a, t).
0.8::edge(t, s).

reach(X, Y) :- reach(X, Z), edge(Z, Y).
reach(X, Y) :- edge(X, Y).

query(reach(s, _)).
query(reach(t, b)).
