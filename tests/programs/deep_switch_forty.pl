% A switch that is flipped at random forty times; both states feed the next step.
%% answer: state(40,on)  0.7500000003341873
%% answer: state(40,off)  0.24999999966581263

state(0, on).
0.1::state(T, off); 0.9::state(T, on) :- T > 0, S is T - 1, state(S, on).
0.3::state(T, on); 0.7::state(T, off) :- T > 0, S is T - 1, state(S, off).

query(state(40, _)).
